"""Rules of records that a JSON schema cannot say; cheap enough for every reading."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ptb_core.errors import Fault
from ptb_core.evaluation.exchange import TaskScore
from ptb_core.records import Attempt, Evaluation, Record


def record_contradictions(record: Record) -> tuple[Fault, ...]:
    """Return every rule that a record breaks, in document order.

    What a record counts with is not among them: that is :func:`ptb_core.counting.decide`'s.
    """
    return tuple(_contradictions(record))


def score_fault(score: TaskScore, n_samples: int | None = None) -> Fault | None:
    """Return what is wrong with a task's score, or None.

    Args:
        score: The score.
        n_samples: Number of samples that it must be over; None for any.
    """
    if not 0 <= score.value <= 1:
        expected = "a fraction in [0, 1]: scores of tasks are averaged"
        return Fault(path="value", found=str(score.value), expected=expected)
    if score.stderr is not None and not 0 <= score.stderr < math.inf:
        expected = "a finite number of at least 0, or null"
        return Fault(path="stderr", found=str(score.stderr), expected=expected)
    if score.n < 0 or (n_samples is not None and score.n != n_samples):
        expected = "a number of at least 0" if n_samples is None else f"{n_samples}, every sample"
        return Fault(path="n", found=str(score.n), expected=expected)
    for name, number in score.breakdowns.items():
        if not math.isfinite(number):
            path = f"breakdowns[{name!r}]"
            return Fault(path=path, found=str(number), expected="a finite number")
    for name, count in score.marks.items():
        if count < 0:
            path = f"marks[{name!r}]"
            return Fault(path=path, found=str(count), expected="a number of at least 0")
    return None


def _contradictions(record: Record) -> Iterator[Fault]:
    if record.evaluation is not None:
        yield from _evaluation_faults(record.evaluation, record.cell.protocol.scoring)
    if record.solve is not None and record.solve.seconds < 0:
        yield _negative("$.solve.seconds", record.solve.seconds)
    for index, attempt in enumerate(record.attempts):
        yield from _attempt_faults(attempt, f"$.attempts[{index}]")
    if record.created_unix_s < 0:
        yield _negative("$.created_unix_s", record.created_unix_s)


def _evaluation_faults(evaluation: Evaluation, scoring: str) -> Iterator[Fault]:
    path, whole = "$.evaluation", evaluation.n_expected
    if evaluation.counted != scoring:
        expected = f"{scoring!r}, as the cell's protocol says"
        yield Fault(path=f"{path}.counted", found=f"{evaluation.counted!r}", expected=expected)
    if not 0 <= evaluation.n_scored <= whole:
        expected = f"a number from 0 to n_expected, {whole}"
        yield Fault(path=f"{path}.n_scored", found=str(evaluation.n_scored), expected=expected)
    elif evaluation.complete and (evaluation.n_scored < whole or whole < 1):
        found = f"true with {evaluation.n_scored} of {whole} samples scored"
        yield Fault(path=f"{path}.complete", found=found, expected="true only with all of them")
    if evaluation.complete and evaluation.counted not in evaluation.scores:
        expected = f"a score under {evaluation.counted} scoring, which counts"
        yield Fault(path=f"{path}.scores", found="none", expected=expected)
    for name, score in evaluation.scores.items():
        fault = score_fault(score, whole if evaluation.complete else None)
        if fault is not None:
            place = f"{path}.scores.{name}.{fault.path}"
            yield Fault(path=place, found=fault.found, expected=fault.expected)


def _attempt_faults(attempt: Attempt, path: str) -> Iterator[Fault]:
    if attempt.number < 1:
        expected = "a number of at least 1"
        yield Fault(path=f"{path}.number", found=str(attempt.number), expected=expected)
    if attempt.ended_unix_s is not None and attempt.ended_unix_s < attempt.started_unix_s:
        expected = f"a time after its start, {attempt.started_unix_s}"
        yield Fault(path=f"{path}.ended_unix_s", found=str(attempt.ended_unix_s), expected=expected)


def _negative(path: str, value: float) -> Fault:
    return Fault(path=path, found=str(value), expected="a number of at least 0")
