"""The task ``aime2025``.

Source: docs/protocol.md, "aime2025"; compared row by row with what the published code made of
recorded completions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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
from ptb_plugins.tasks.exact_tasks import score_number
from ptb_plugins.tasks.numeric_match import unboxed
from ptb_plugins.tasks.task_data import check_wording, filled, text_column

_WHOLE_NUMBER = re.compile(r"0*([0-9]{1,3})(?![0-9.,])")


class Aime2025(Task):
    """Competition mathematics; the number at the end of the answer counts."""

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the problems in file order; ids are those of the rows (``aime2025-7``).

        Raises:
            DataError: If a row lacks its id, problem or an answer from 0 to 999.
        """
        template = check_wording("aime2025", data.prompt(self.spec.prompts[0].name), "prompt")
        return [
            _sample(number, row, template)
            for number, row in enumerate(read_rows(data.file("test")))
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the problem in the template."""
        user = filled(sample.input["template"], prompt=sample.input["question"])
        return (ChatRequest(messages=({"role": "user", "content": user},)),)

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        r"""Score 1 if the number at the end of the answer is the target, else 0.

        ``\boxed{...}`` is unwrapped first. Repaired scoring takes the whole number that the
        target starts with, so that a degree sign behind it in the data is neither asked for nor
        held against an answer.
        """
        (completion,) = completions
        if scoring == "published":
            return score_number(sample, completion, scoring, target=sample.target, unwrap=unboxed)
        number, unit = sample.metadata["number"], sample.metadata["unit"]
        return score_number(
            sample,
            completion,
            scoring,
            target=number,
            unwrap=lambda text: unboxed(text).replace(unit, "") if unit else unboxed(text),
        )

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the accuracy and its standard error."""
        return mean_and_stderr(scores)


def _sample(number: int, row: Mapping[str, JsonValue], template: str) -> Sample:
    row_id, answer = (_id_or_answer(row, column, number) for column in ("id", "answer"))
    target = answer.strip()
    whole = _WHOLE_NUMBER.match(target)
    if whole is None:
        raise DataError(
            f"aime2025: row {number} has the answer {target[:40]!r}, expected a whole number "
            "from 0 to 999"
        )
    return Sample(
        id=f"aime2025-{row_id}",
        input={"question": text_column("aime2025", row, "problem", number), "template": template},
        target=answer,
        metadata={"number": whole[1], "unit": target[whole.end() :]},
    )


def _id_or_answer(row: Mapping[str, JsonValue], column: str, number: int) -> str:
    """Return a column that some copies of the data hold as a number and others as text."""
    value = row.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_column("aime2025", row, column, number)
