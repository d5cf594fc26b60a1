"""What the judged tasks share: the text that is judged, and samples without one.

Source: docs/protocol.md, "Requests to the model server" and "repetition limit"; golden rows
``judged-answer``.
"""

from __future__ import annotations

from ptb_core.api import Completion, Scoring
from ptb_plugins.tasks.exact_tasks import NO_ANSWER_MARK, RAISES_MARK, completion_marks
from ptb_plugins.tasks.repetitions import limit_repetitions

MAX_COMPLETION_TOKENS = 49152
"""Longest reply of a grader, reasoning included. Source: docs/protocol.md, both judged tasks."""

SHUFFLE_SEED = 42
"""Seed of Python's ``random.Random`` that orders samples. Source: docs/protocol.md, "Tasks"."""

_OPENING, _CLOSING = "<think>", "</think>"


def judged_text(completion: Completion) -> str | None:
    """Return what a judge reads of a completion, or None when there is no text at all.

    Stripped, without a think block that opens the text and is closed, and with repetitions
    limited. A lone surrogate, which no request can carry, becomes U+FFFD.
    """
    if not has_text(completion):
        return None
    text = (completion.text or "").strip()
    if text.startswith(_OPENING):
        _, is_closed, after = text.partition(_CLOSING)
        text = after.strip() if is_closed else text
    return _sendable(limit_repetitions(text))


def has_text(completion: Completion) -> bool:
    """Say whether the model wrote anything, an empty text included."""
    return (
        completion.error is None and completion.http_status == 200 and completion.text is not None
    )


def missing_text_marks(completion: Completion, scoring: Scoring) -> tuple[str, ...]:
    """Return what is worth counting about a completion without text.

    The published code ends its whole evaluation on one: a refused prompt is no answer there, as
    it is in the exact tasks.
    """
    marks = completion_marks(completion) or (NO_ANSWER_MARK,)
    return (*marks, RAISES_MARK) if scoring == "published" else marks


def _sendable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
