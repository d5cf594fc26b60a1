"""Means and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ptb_core.evaluation.exchange import SampleScore, TaskScore, count_marks


def mean_and_stderr(scores: Sequence[SampleScore]) -> TaskScore:
    """Return the mean of the samples' values, its standard error, and the marks' counts.

    The standard error is the sample standard deviation over the square root of n; for values of
    0 and 1 that is ``sqrt(p * (1 - p) / (n - 1))``, and 0 for n = 1.

    Source: standard error of the five exact tasks of the published benchmark.

    Raises:
        ValueError: If there are no scores.
    """
    if not scores:
        raise ValueError("a mean needs at least one sample score")
    values = [score.value for score in scores]
    return TaskScore(
        value=math.fsum(values) / len(values),
        stderr=standard_error(values),
        n=len(scores),
        marks=count_marks(scores),
    )


def standard_error(values: Sequence[float]) -> float:
    """Return the sample standard deviation over the square root of n; 0 for n = 1.

    Args:
        values: At least one.
    """
    n = len(values)
    mean = math.fsum(values) / n
    squares = math.fsum((value - mean) ** 2 for value in values)
    return math.sqrt(squares / (n - 1) / n) if n > 1 else 0.0
