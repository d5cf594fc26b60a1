"""The task ``healthbench``.

Source: docs/protocol.md, "healthbench"; compared row by row with what the published code made of
recorded gradings.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import msgspec

from ptb_core.api import (
    GRADER_PROMPT,
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
)
from ptb_plugins.tasks.healthbench.grading import (
    CONVERSATION,
    RUBRIC_ITEM,
    conversation_text,
    published_question,
    read_verdict,
    repaired_question,
)
from ptb_plugins.tasks.healthbench.rubric import (
    Criterion,
    as_metrics,
    bootstrap_stderr,
    breakdowns,
    clipped_mean,
    from_metrics,
    grade,
    rubric_score,
    tag_value,
)
from ptb_plugins.tasks.judged_tasks import (
    MAX_COMPLETION_TOKENS,
    SHUFFLE_SEED,
    has_text,
    judged_text,
    missing_text_marks,
)

TRIES = 5
"""Times that the grader is asked for a usable reply. Source: docs/protocol.md, "healthbench"."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: str
    content: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the task reads of a row."""

    prompt_id: str
    prompt: tuple[Turn, ...]
    rubrics: tuple[Criterion, ...]
    example_tags: tuple[str, ...] = ()
    ideal_completions_data: Mapping[str, JsonValue] | None = None


class HealthBench(Task):
    """Health conversations; the last turn is written by the model and graded by a rubric.

    Both scorings read the same verdicts, but where a conversation or an answer holds the
    placeholder of the rubric item: the published code fills it in there too, repaired scoring
    does not, so the grader is asked both ways, in checks of different names.
    """

    def unusable_reason(self) -> str | None:
        """Return what to install when numpy, which draws the published bootstrap, is missing."""
        if importlib.util.find_spec("numpy") is not None:
            return None
        return "its standard error needs numpy; run `pip install 'posttrainbench[evaluation]'`"

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the conversations in file order; the target is the rubric.

        Raises:
            DataError: If a row lacks its parts, or the grader's template a placeholder.
        """
        template = data.prompt(GRADER_PROMPT)
        unfit = "; ".join(self.wording_faults(template))
        if unfit:
            raise DataError(f"healthbench: the grader's wording cannot be used: {unfit}")
        return [
            Sample(
                id=row.prompt_id,
                input={"messages": [msgspec.to_builtins(turn) for turn in row.prompt]},
                target=[msgspec.to_builtins(one) for one in row.rubrics],
                metadata={"theme": tag_value("theme", row.example_tags), "template": template},
            )
            for row in _rows(data)
        ]

    def order(self, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        """Return the first ``limit`` of the shuffled samples, or all of them shuffled.

        Source: golden rows ``healthbench-order-*``.
        """
        shuffled = list(samples)
        Random(SHUFFLE_SEED).shuffle(shuffled)
        return shuffled if limit is None else shuffled[:limit]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the conversation as it is."""
        return (ChatRequest(messages=tuple(_turns(sample))),)

    def checks(self, sample: Sample, completion: Completion) -> tuple[GraderCheck, ...]:
        """Return one question per criterion, two where the scorings ask differently."""
        answer = judged_text(completion)
        if answer is None:
            return ()
        template = str(sample.metadata["template"])
        conversation = conversation_text(_turns(sample), answer)
        wordings = {"published": published_question, "repaired": repaired_question}
        return tuple(
            GraderCheck(
                name=name,
                messages=(
                    {"role": "user", "content": wordings[scoring](template, conversation, one)},
                ),
                max_completion_tokens=MAX_COMPLETION_TOKENS,
                tries=TRIES,
            )
            for number, one in enumerate(_rubric(sample))
            for name, scoring in _names(sample, completion, number).items()
        )

    def accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        """Say whether the reply is a JSON object that says if the criterion is met."""
        return read_verdict(reply) is not None

    def wording_faults(self, text: str) -> tuple[str, ...]:
        """Return which placeholder does not stand in a wording exactly once."""
        return tuple(
            f"it must hold {placeholder} exactly once"
            for placeholder in (CONVERSATION, RUBRIC_ITEM)
            if text.count(placeholder) != 1
        )

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score the points of the criteria met over the sum of positive points.

        At most 1, and below 0 when more harm than good was done. A criterion without a verdict
        counts as not met, as published, but gives the mark ``unchecked``: not meeting a negative
        criterion would be a gift. An answer without text meets nothing; nobody is asked.
        """
        (completion,) = completions
        rubric, theme = _rubric(sample), str(sample.metadata["theme"])
        if not has_text(completion):
            marks = missing_text_marks(completion, scoring)
            graded = grade(rubric, [False] * len(rubric), theme)
            return SampleScore(id=sample.id, value=0.0, marks=marks, metrics=as_metrics(graded))
        met = [
            _verdict(completion, _name(sample, completion, number, scoring))
            for number in range(len(rubric))
        ]
        graded = grade(rubric, met, theme)
        return SampleScore(
            id=sample.id,
            value=rubric_score(graded),
            answer=f"{met.count(True)} of {len(met)} criteria met",
            marks=(UNCHECKED,) if None in met else (),
            metrics=as_metrics(graded),
        )

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the clipped mean, its bootstrap standard error, and scores by theme and axis."""
        values = [score.value for score in scores]
        return TaskScore(
            value=clipped_mean(values),
            stderr=bootstrap_stderr(values),
            n=len(scores),
            breakdowns=breakdowns([from_metrics(score.metrics) for score in scores], values),
            marks=count_marks(scores),
        )

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return conversations, rubrics and the ideal answers that the file gives."""
        for row in _rows(data):
            yield TestItem(id=row.prompt_id, text="\n".join(turn.content for turn in row.prompt))
            yield TestItem(id=row.prompt_id, text="\n".join(one.criterion for one in row.rubrics))
            ideal = (row.ideal_completions_data or {}).get("ideal_completion")
            if isinstance(ideal, str) and ideal.strip():
                yield TestItem(id=row.prompt_id, text=ideal)


def _turns(sample: Sample) -> list[Mapping[str, JsonValue]]:
    turns = sample.input["messages"]
    assert isinstance(turns, list)
    return [turn for turn in turns if isinstance(turn, dict)]


def _rubric(sample: Sample) -> list[Criterion]:
    return msgspec.convert(sample.target, list[Criterion])


def _names(sample: Sample, completion: Completion, number: int) -> dict[str, Scoring]:
    """Return the checks of a criterion, each with the scoring whose wording it has.

    Where both ask the same it is one check, in the published wording.
    """
    scorings: tuple[Scoring, ...] = ("repaired", "published")
    return {_name(sample, completion, number, scoring): scoring for scoring in scorings}


def _name(sample: Sample, completion: Completion, number: int, scoring: Scoring) -> str:
    apart = scoring == "repaired" and _holds_placeholder(sample, completion)
    return f"criterion-{number}-as-written" if apart else f"criterion-{number}"


def _holds_placeholder(sample: Sample, completion: Completion) -> bool:
    """Say whether the scorings may ask differently; what is judged is cut from these texts."""
    texts = [turn["content"] for turn in _turns(sample)]
    return any(RUBRIC_ITEM in str(text) for text in (*texts, completion.text))


def _verdict(completion: Completion, name: str) -> bool | None:
    result = completion.checks.get(name)
    return read_verdict(result.text) if isinstance(result, GraderResult) else None


def _rows(data: DataDir) -> Iterable[Row]:
    seen: set[str] = set()
    for number, found in enumerate(read_rows(data.file("test")), start=1):
        try:
            row = msgspec.convert(found, Row)
        except msgspec.ValidationError as error:
            raise DataError(
                f"healthbench: {data.file('test')}, row {number}: {error}; expected prompt_id, "
                "prompt (turns with role and content) and rubrics (criterion, points, tags)"
            ) from error
        if row.prompt_id in seen or not row.prompt or not row.rubrics:
            raise DataError(
                f"healthbench: {data.file('test')}, row {number} must hold a prompt_id of its "
                f"own, turns and criteria; found {row.prompt_id!r}, {len(row.prompt)} turns, "
                f"{len(row.rubrics)} criteria"
            )
        seen.add(row.prompt_id)
        yield row
