"""The task ``errands``: the reply's last ``ANSWER: value`` line holds the fact asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    DataError,
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
from ptb_plugins.tasks.exact_tasks import completion_marks, scored_text

INSTRUCTION = "End with a line ANSWER: value."
"""What follows the question in the request; the shipped training programs use the same words."""

ANSWER_LABEL = "answer:"
MOST_SHOTS = 10
AMBIGUOUS_MARK = "several-answer-lines"


class Errands(Task):
    """Short stories and questions that look one fact up."""

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the test rows in file order.

        Raises:
            DataError: If a row lacks its id, question or answer.
        """
        return [
            Sample(id=row_id, input={"question": question}, target=answer)
            for row_id, question, answer in _rows(data, "test")
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the question and the instruction in one user message."""
        content = f"{sample.input['question']}\n{INSTRUCTION}"
        message = {"role": "user", "content": content}
        return (ChatRequest(messages=(message,)),)

    def shots(self, data: DataDir) -> Sequence[str]:
        """Return the first rows of the train split, answered as the instruction asks for."""
        rows = itertools.islice(_rows(data, "train"), MOST_SHOTS)
        return [f"{question}\n{INSTRUCTION}\n\nANSWER: {answer}" for _, question, answer in rows]

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score 1 if the reply's answer is the target, without regard to case and white space.

        Published scoring takes the last ``ANSWER:`` line. Repaired scoring takes it only when
        all ``ANSWER:`` lines of the reply agree, so that listing every candidate earns nothing.
        """
        (completion,) = completions
        marks = completion_marks(completion)
        answers = _answers(scored_text(completion, scoring) or "")
        if len(set(answers)) > 1:
            marks = (*marks, AMBIGUOUS_MARK)
        if not answers or (scoring == "repaired" and len(set(answers)) > 1):
            return SampleScore(id=sample.id, value=0.0, marks=marks)
        correct = answers[-1] == _plain(sample.target)
        return SampleScore(id=sample.id, value=float(correct), answer=answers[-1], marks=marks)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the accuracy and its standard error."""
        return mean_and_stderr(scores)

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return the test stories with their questions; the train split is allowed."""
        for row_id, question, _ in _rows(data, "test"):
            yield TestItem(id=row_id, text=question)
        for row_id, question, _ in _rows(data, "train"):
            yield TestItem(id=row_id, text=question, allowed=True)


def _answers(text: str) -> list[str]:
    lines = (line.strip().casefold() for line in text.splitlines())
    return [
        _plain(line.removeprefix(ANSWER_LABEL)) for line in lines if line.startswith(ANSWER_LABEL)
    ]


def _plain(answer: str) -> str:
    return "".join(answer.split()).casefold()


def _rows(data: DataDir, name: str) -> Iterable[tuple[str, str, str]]:
    for number, row in enumerate(read_rows(data.file(name)), start=1):
        match row:
            case {"id": str(row_id), "question": str(question), "answer": str(answer)}:
                yield row_id, question, answer
            case _:
                raise DataError(
                    f"errands: {data.file(name)}, row {number} must hold the texts id, question "
                    f"and answer; found the columns {', '.join(row) or 'none'}"
                )
