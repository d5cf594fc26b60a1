"""Verdicts of the judge: five labels, five mirrored spellings, and the points they give.

Source: docs/protocol.md, "arenahardwriting"; golden rows ``arena-verdict-*``.
"""

from __future__ import annotations

import re

POINTS_OF_A = {
    "A>>B": (1.0, 1.0, 1.0),
    "A>B": (1.0,),
    "A=B": (0.5,),
    "B>A": (0.0,),
    "B>>A": (0.0, 0.0, 0.0),
    "B<<A": (1.0, 1.0, 1.0),
    "B<A": (1.0,),
    "B=A": (0.5,),
    "A<B": (0.0,),
    "A<<B": (0.0, 0.0, 0.0),
}
"""Points of the answer shown as A; a clear verdict counts three times."""

LABELS = tuple(POINTS_OF_A)[:5]
"""The labels that a judge is offered; the others are mirrored spellings of them."""

_FORMS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))


def find_label(reply: str) -> str | None:
    """Return the last label in double brackets, else the last in single ones, else None.

    In upper case; it may be none of the known ones, such as ``A`` from ``[A]``.
    """
    for form in _FORMS:
        labels = form.findall(reply.upper())
        if labels:
            return str(labels[-1])
    return None


def candidate_points(label: str, candidate_is_a: bool) -> tuple[float, ...] | None:
    """Return the candidate's points for a label, or None for one outside the table."""
    points = POINTS_OF_A.get(label)
    if points is None or candidate_is_a:
        return points
    return tuple(1 - point for point in points)
