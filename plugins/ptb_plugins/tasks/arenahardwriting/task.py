"""The task ``arenahardwriting``.

Source: docs/protocol.md, "arenahardwriting"; compared row by row with what the published code
made of recorded verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from ptb_core.api import (
    UNCHECKED,
    ChatRequest,
    Completion,
    DataDir,
    DataError,
    GraderCheck,
    GraderResult,
    JsonValue,
    RequestKind,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskScore,
    TestItem,
    count_marks,
    read_rows,
    standard_error,
)
from ptb_plugins.tasks.arenahardwriting.judge_prompt import (
    judge_messages,
    judge_wording,
    wording_faults,
)
from ptb_plugins.tasks.arenahardwriting.verdicts import POINTS_OF_A, candidate_points, find_label
from ptb_plugins.tasks.exact_tasks import RAISES_MARK
from ptb_plugins.tasks.judged_tasks import (
    MAX_COMPLETION_TOKENS,
    SHUFFLE_SEED,
    has_text,
    judged_text,
    missing_text_marks,
)

GAMES = {"baseline-first": False, "candidate-first": True}
"""The two games of a question, in order: is the candidate's answer shown as A?"""

POINTS_WITHOUT_TEXT = POINTS_OF_A["B>>A"] * 2
"""Where the model wrote no text at all, both games are clearly lost; nobody is asked."""


class ArenaHardWriting(Task):
    """Creative writing, each answer compared twice with the fixed opponent's.

    Both scorings ask the judge the same and count the same points. They differ in what cannot
    count under either: a reply without a known label is asked for again, where the published code
    drops the question or ends.
    """

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the questions in file order; the target is the opponent's answer.

        Raises:
            DataError: If a row lacks its parts, a question has no opponent's answer, or the
                judge prompt is not usable.
        """
        wording = judge_wording(data)
        opponents = dict(_opponent_answers(data))
        samples = []
        for uid, prompt in _questions(data):
            if uid not in opponents:
                raise DataError(
                    f"arenahardwriting: {data.file('baseline')} has no answer to question {uid!r} "
                    f"of {data.file('test')}"
                )
            metadata: dict[str, JsonValue] = {"judge_prompt": wording}
            samples.append(
                Sample(id=uid, input={"question": prompt}, target=opponents[uid], metadata=metadata)
            )
        return samples

    def order(self, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        """Return the first ``limit`` of the shuffled samples; without a limit, file order.

        Source: golden row ``arena-order-None``; docs/protocol.md, "Upstream's order of samples".
        """
        if limit is None:
            return samples
        shuffled = list(samples)
        Random(SHUFFLE_SEED).shuffle(shuffled)
        return shuffled[:limit]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the question as it is."""
        return (ChatRequest(messages=({"role": "user", "content": sample.input["question"]},)),)

    def checks(self, sample: Sample, completion: Completion) -> tuple[GraderCheck, ...]:
        """Return the two games; none for a completion without text."""
        answer = judged_text(completion)
        if answer is None:
            return ()
        return tuple(
            _game(sample, name, answer, candidate_is_a) for name, candidate_is_a in GAMES.items()
        )

    def accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        """Say whether the reply's verdict is one of the known labels."""
        return find_label(reply) in POINTS_OF_A

    def wording_faults(self, text: str) -> tuple[str, ...]:
        """Return which placeholder, verdict or heading a wording lacks."""
        return wording_faults(text)

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score the mean of the points of both games; ``metrics["points"]`` lists them by game.

        A question with a missing verdict has no points and the mark ``unchecked``.
        """
        (completion,) = completions
        if not has_text(completion):
            half = len(POINTS_WITHOUT_TEXT) // 2
            return SampleScore(
                id=sample.id,
                value=0.0,
                marks=missing_text_marks(completion, scoring),
                metrics={"points": [list(POINTS_WITHOUT_TEXT[:half])] * 2},
            )
        labels = [_label(completion, name) for name in GAMES]
        points = [
            None if label is None else candidate_points(label, candidate_is_a)
            for label, candidate_is_a in zip(labels, GAMES.values(), strict=True)
        ]
        known = [list(one) for one in points if one is not None]
        if len(known) < len(GAMES):
            dies = scoring == "published" and None not in labels
            return SampleScore(
                id=sample.id,
                value=0.0,
                marks=(RAISES_MARK, UNCHECKED) if dies else (UNCHECKED,),
                metrics={"points": []},
            )
        return SampleScore(
            id=sample.id,
            value=_mean([point for game in known for point in game]),
            answer=", ".join(f"{name}: {label}" for name, label in zip(GAMES, labels, strict=True)),
            metrics={"points": known},
        )

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the win rate over all points, where a clear verdict counts three times.

        The standard error is the published one and takes all points for independent.
        ``question-mean`` and ``question-stderr`` take each question as one observation;
        ``baseline-first`` and ``candidate-first`` are the win rates of each game alone, whose
        difference is the judge's preference for a place.
        """
        games = [_points(score) for score in scores]
        points = [point for pair in games for game in pair for point in game]
        if not points:
            return TaskScore(value=0.0, stderr=None, n=len(scores), marks=count_marks(scores))
        questions = [score.value for score, pair in zip(scores, games, strict=True) if pair]
        breakdowns = {
            "question-mean": _mean(questions),
            "question-stderr": standard_error(questions),
        }
        for place, name in enumerate(GAMES):
            breakdowns[name] = _mean([point for pair in games if pair for point in pair[place]])
        return TaskScore(
            value=_mean(points),
            stderr=standard_error(points),
            n=len(scores),
            breakdowns=breakdowns,
            marks=count_marks(scores),
        )

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return the questions, and the opponent's answers to them."""
        opponents = dict(_opponent_answers(data))
        for uid, prompt in _questions(data):
            yield TestItem(id=uid, text=prompt)
            if opponents.get(uid, "").strip():
                yield TestItem(id=uid, text=opponents[uid])


def _game(sample: Sample, name: str, answer: str, candidate_is_a: bool) -> GraderCheck:
    opponent = str(sample.target)
    first, second = (answer, opponent) if candidate_is_a else (opponent, answer)
    wording = sample.metadata["judge_prompt"]
    assert isinstance(wording, dict)
    return GraderCheck(
        name=name,
        messages=judge_messages(wording, str(sample.input["question"]), first, second),
        max_completion_tokens=MAX_COMPLETION_TOKENS,
        reasoning_effort="medium",
    )


def _label(completion: Completion, name: str) -> str | None:
    result = completion.checks.get(name)
    return find_label(result.text) if isinstance(result, GraderResult) else None


def _points(score: SampleScore) -> list[list[float]]:
    points = score.metrics["points"]
    assert isinstance(points, list)
    return points


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _questions(data: DataDir) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for number, row in enumerate(read_rows(data.file("test")), start=1):
        match row:
            case {"uid": str(uid), "prompt": str(prompt)} if prompt.strip() and uid not in seen:
                seen.add(uid)
                yield uid, prompt
            case _:
                raise DataError(
                    f"arenahardwriting: {data.file('test')}, row {number} must hold a uid of its "
                    f"own and a prompt; found {_found(row, 'uid', 'prompt')}"
                )


def _opponent_answers(data: DataDir) -> Iterable[tuple[str, str]]:
    for number, row in enumerate(read_rows(data.file("baseline")), start=1):
        match row:
            case {"uid": str(uid), "messages": [*_, {"content": {"answer": str(answer)}}]}:
                yield uid, answer
            case _:
                raise DataError(
                    f"arenahardwriting: {data.file('baseline')}, row {number} must hold a uid and "
                    "messages of which the last has content.answer; found "
                    f"{_found(row, 'uid', 'messages')}"
                )


def _found(row: Mapping[str, JsonValue], *columns: str) -> str:
    return ", ".join(f"{column} {str(row.get(column))[:40]!r}" for column in columns)
