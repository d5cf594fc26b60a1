"""A conversation's rubric, its score, and the breakdowns over many.

Source: docs/protocol.md, "healthbench"; golden rows ``healthbench-score-*``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from ptb_core.api import JsonValue

BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_SEED = 42
UNKNOWN = "unknown"
"""Theme or axis of what has no such tag."""

MOST_POINTS = 1e6
"""Points beyond which a row is taken for damaged."""


class Criterion(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion of a rubric.

    Attributes:
        criterion: What an answer has to do, or must not do, in words.
        points: Points for an answer that meets it; negative for what must not be done.
        tags: ``axis:accuracy`` and the like.
    """

    criterion: str
    points: Annotated[float, msgspec.Meta(ge=-MOST_POINTS, le=MOST_POINTS)]
    tags: tuple[str, ...] = ()

    @property
    def axis(self) -> str:
        """The axis of behaviour that it belongs to."""
        return tag_value("axis", self.tags)


class Graded(msgspec.Struct, frozen=True, kw_only=True):
    """What a sample's metrics keep of its grading.

    Attributes:
        met: By criterion, in file order; None where the grader gave no usable answer.
        theme: The conversation's theme.
        axes: Points met and positive points, by axis.
    """

    met: tuple[bool | None, ...]
    theme: str
    axes: Mapping[str, tuple[float, float]]


def tag_value(kind: str, tags: Sequence[str]) -> str:
    """Return what follows ``kind:`` in the first such tag, or ``unknown``."""
    return next((tag.split(":")[1] for tag in tags if tag.startswith(f"{kind}:")), UNKNOWN)


def grade(rubric: Sequence[Criterion], met: Sequence[bool | None], theme: str) -> Graded:
    """Put a sample's verdicts together."""
    axes: dict[str, tuple[float, float]] = {}
    for criterion, verdict in zip(rubric, met, strict=True):
        got, possible = axes.get(criterion.axis, (0.0, 0.0))
        axes[criterion.axis] = (
            got + (criterion.points if verdict else 0.0),
            possible + max(criterion.points, 0.0),
        )
    return Graded(met=tuple(met), theme=theme, axes=axes)


def rubric_score(graded: Graded) -> float:
    """Return the points met over the positive points; it may be negative, and is at most 1."""
    possible = sum(possible for _, possible in graded.axes.values())
    return sum(got for got, _ in graded.axes.values()) / possible if possible else 0.0


def clipped_mean(scores: Sequence[float]) -> float:
    """Return the mean of scores, clipped to [0, 1]."""
    import numpy as np

    return float(np.clip(np.mean(scores), 0, 1))


def bootstrap_stderr(scores: Sequence[float]) -> float:
    """Return the standard deviation of 1000 clipped means of resampled scores; 0 for n = 1.

    Depends on the order of the scores, because the draws are fixed.
    """
    import numpy as np

    if len(scores) < 2:
        return 0.0
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    values = np.array(scores)
    means = [
        np.clip(np.mean(generator.choice(values, size=len(values), replace=True)), 0, 1)
        for _ in range(BOOTSTRAP_SAMPLES)
    ]
    return float(np.std(means))


def breakdowns(graded: Sequence[Graded], scores: Sequence[float]) -> dict[str, float]:
    """Return ``theme:...``: clipped means of scores, and ``axis:...``: clipped pooled shares.

    An axis without positive points is left out.
    """
    themes: dict[str, list[float]] = {}
    axes: dict[str, tuple[float, float]] = {}
    for one, score in zip(graded, scores, strict=True):
        themes.setdefault(one.theme, []).append(score)
        for axis, (got, possible) in one.axes.items():
            sums = axes.get(axis, (0.0, 0.0))
            axes[axis] = (sums[0] + got, sums[1] + possible)
    return {
        **{f"theme:{theme}": clipped_mean(values) for theme, values in sorted(themes.items())},
        **{
            f"axis:{axis}": min(max(got / possible, 0.0), 1.0)
            for axis, (got, possible) in sorted(axes.items())
            if possible
        },
    }


def as_metrics(graded: Graded) -> dict[str, JsonValue]:
    """Return a grading as a sample's metrics, in lists as JSON has them."""
    metrics: dict[str, JsonValue] = msgspec.json.decode(msgspec.json.encode(graded))
    return metrics


def from_metrics(metrics: Mapping[str, JsonValue]) -> Graded:
    """Return the grading that :func:`as_metrics` has put into a sample's metrics."""
    return msgspec.convert(metrics, Graded)
