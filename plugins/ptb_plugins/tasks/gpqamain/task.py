"""The task ``gpqamain``.

Source: docs/protocol.md, "gpqamain"; compared row by row with what the published code made of
recorded completions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
    mean_and_stderr,
    read_rows,
)
from ptb_plugins.tasks.exact_tasks import completion_marks, scored_text
from ptb_plugins.tasks.gpqamain.answer_line import answer_text
from ptb_plugins.tasks.task_data import check_wording, filled, text_column

LETTERS = ("A", "B", "C", "D")

CHOICES = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
"""Columns of the choices; an order is a permutation of their places."""


class GpqaMain(Task):
    """Multiple choice; the letter behind ``ANSWER:`` counts.

    Both scorings read the answer alike; they differ only where the server refused a prompt as
    too long.
    """

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the questions in file order, each with its choices in an order of its own.

        Ids are the records' own. The published order is random and not recorded; here it follows
        from the record id alone (:func:`seeded_order`), so that every evaluation asks the same.

        Raises:
            DataError: If a row lacks its id, its question or a choice.
        """
        template = check_wording(
            "gpqamain", data.prompt(self.spec.prompts[0].name), "letters", "question", "choices"
        )
        return [
            _sample(number, row, template)
            for number, row in enumerate(read_rows(data.file("test")))
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: question and lettered choices in the template."""
        shown = zip(LETTERS, sample.input["choices"], strict=True)
        user = filled(
            sample.input["template"],
            letters=",".join(LETTERS),
            question=sample.input["question"],
            choices="\n".join(f"{letter}) {choice}" for letter, choice in shown),
        )
        return (ChatRequest(messages=({"role": "user", "content": user},)),)

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score 1 if the letter that the answer gives is that of the right choice, else 0."""
        (completion,) = completions
        marks = completion_marks(completion)
        text = scored_text(completion, scoring)
        if text is None:
            return SampleScore(id=sample.id, value=0.0, marks=marks)
        letter = given_letter(text)
        value = float(letter == sample.target)
        return SampleScore(id=sample.id, value=value, answer=letter, marks=marks)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the accuracy and its standard error."""
        return mean_and_stderr(scores)


def given_letter(text: str) -> str:
    """Return the letter that an answer gives, or an empty text when it gives none.

    The letter must be a capital and stand alone: the first label decides, and where anything
    else stands behind it, no later label is looked at.
    """
    found = answer_text(text)
    return found if found in LETTERS else ""


def seeded_order(record_id: str) -> tuple[int, ...]:
    """Return the order in which a record's choices are shown: the choice under each letter.

    Choices are sorted by the sha256 of ``gpqamain:RECORD_ID:PLACE``, PLACE being that of the
    choice in ``CHOICES``: fixed for all times, machines and versions of Python.
    """

    def key(place: int) -> bytes:
        return hashlib.sha256(f"gpqamain:{record_id}:{place}".encode()).digest()

    return tuple(sorted(range(len(CHOICES)), key=key))


def in_order(sample: Sample, order: Sequence[int]) -> Sample:
    """Return a sample with its choices shown in another order.

    Args:
        sample: A sample of this task.
        order: ``order[k]`` is the place in ``CHOICES`` of the choice under letter k. With the
            order of a recorded evaluation, requests and scores are those of that evaluation.
    """
    before = sample.metadata["order"]
    choices = dict(zip(before, sample.input["choices"], strict=True))
    return replace(
        sample,
        input={**sample.input, "choices": [choices[place] for place in order]},
        target=LETTERS[list(order).index(0)],
        metadata={**sample.metadata, "order": list(order)},
    )


def _sample(number: int, row: Mapping[str, JsonValue], template: str) -> Sample:
    record_id, question, *choices = (
        text_column("gpqamain", row, column, number)
        for column in ("Record ID", "Question", *CHOICES)
    )
    if not record_id:
        raise DataError(f"gpqamain: row {number} has an empty 'Record ID'")
    as_in_the_file = Sample(
        id=record_id,
        input={"question": question, "choices": choices, "template": template},
        target=LETTERS[0],
        metadata={"order": list(range(len(CHOICES)))},
    )
    return in_order(as_in_the_file, seeded_order(record_id))
