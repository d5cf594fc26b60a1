"""The task ``gsm8k``.

Source: docs/protocol.md, "gsm8k"; compared row by row with what the published code made of recorded
completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    DataError,
    JsonValue,
    RequestKind,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskScore,
    TestItem,
    mean_and_stderr,
    read_rows,
)
from ptb_plugins.tasks.exact_tasks import score_number
from ptb_plugins.tasks.numeric_match import is_number
from ptb_plugins.tasks.task_data import KNOWN_BY_WORDS, check_wording, filled, text_column

SHOT_ROWS = (3082, 2184, 5897, 2437, 6330, 819, 3812, 5878, 5302, 5876)
"""Rows of the train split, counting from 0, that are shown as examples, in this order.

Source: docs/protocol.md, "gsm8k": numpy default_rng(42).permutation(7473)[:10].
"""

ANSWER_MARK = "####"


class Gsm8k(Task):
    """Grade-school mathematics with ten worked examples in a system message."""

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the test rows in file order; ids count them from 0 (``gsm8k-0000``).

        Raises:
            DataError: If a row has no question or no numeric answer, or an example is missing.
        """
        system = "\n\n".join(_shots(data))
        template = check_wording("gsm8k", data.prompt(self.spec.prompts[0].name), "prompt")
        return [
            _sample(number, row, system, template)
            for number, row in enumerate(read_rows(data.file("test")))
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the examples as system message, the question in the template."""
        user = filled(sample.input["template"], prompt=sample.input["question"])
        messages = (
            {"role": "system", "content": sample.input["system"]},
            {"role": "user", "content": user},
        )
        return (ChatRequest(messages=messages),)

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score 1 if the number at the end of the answer is the target, else 0."""
        (completion,) = completions
        return score_number(sample, completion, scoring, target=sample.target)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the accuracy and its standard error."""
        return mean_and_stderr(scores)

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return test questions, and solutions long enough to be known by; train is allowed.

        Question and solution are apart, so that a solution under a reworded question is found.
        """
        for number, row in enumerate(read_rows(data.file("test"))):
            question, answer = _text(row, "question", number), _text(row, "answer", number)
            yield TestItem(id=_id(number), text=question)
            if len(answer.split()) >= KNOWN_BY_WORDS:
                yield TestItem(id=_id(number), text=answer)
        for number, row in enumerate(read_rows(data.file("train"))):
            question, answer = _text(row, "question", number), _text(row, "answer", number)
            text = f"{question}\n{answer}"
            yield TestItem(id=f"gsm8k-train-{number:04d}", text=text, allowed=True)


def _id(number: int) -> str:
    return f"gsm8k-{number:04d}"


def _sample(number: int, row: Mapping[str, JsonValue], system: str, template: str) -> Sample:
    reasoning, target = _split_answer(_text(row, "answer", number))
    if not is_number(target):
        raise DataError(f"gsm8k: test row {number} has the answer {target[:40]!r}, no number")
    question = _text(row, "question", number)
    return Sample(
        id=_id(number),
        input={"question": question, "system": system, "template": template},
        target=target,
        metadata={"reasoning": reasoning},
    )


def _shots(data: DataDir) -> list[str]:
    rows = list(read_rows(data.file("train")))
    if len(rows) <= max(SHOT_ROWS):
        raise DataError(
            f"gsm8k: {data.file('train')} has {len(rows)} rows, expected the whole train split "
            "(7473 rows), from which the ten examples are taken by position"
        )
    return [_shot(rows[number], number) for number in SHOT_ROWS]


def _shot(row: Mapping[str, JsonValue], number: int) -> str:
    reasoning, target = _split_answer(_text(row, "answer", number))
    return f"{_text(row, 'question', number)}\n\nReasoning:\n{reasoning}\n\nANSWER: {target}"


def _split_answer(answer: str) -> tuple[str, str]:
    reasoning, _, target = answer.rpartition(ANSWER_MARK)
    return reasoning.strip(), target.strip()


def _text(row: Mapping[str, JsonValue], column: str, number: int) -> str:
    return text_column("gsm8k", row, column, number)
