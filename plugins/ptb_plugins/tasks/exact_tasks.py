"""What the exact tasks share: the text that is scored, and what is worth counting about it."""

from __future__ import annotations

from collections.abc import Callable

from ptb_core.api import Completion, Sample, SampleScore, Scoring
from ptb_plugins.tasks.numeric_match import match_published, match_repaired
from ptb_plugins.tasks.think_blocks import without_think_block

TOO_LONG_STATUS = 400
"""HTTP status of a server that refuses a prompt as too long."""

RAISES_MARK = "published-code-raises"
"""Mark of a completion of which the published evaluation dies, without any score.

Source: docs/protocol.md, "Numeric match, published".
"""

NO_ANSWER_MARK = "no-answer"
"""Mark of a completion that is none: the server failed, or the model wrote no text."""


def scored_text(completion: Completion, scoring: Scoring) -> str | None:
    """Return the text that is taken as the answer, or None when there is none.

    A prompt that is too long: published scoring takes the server's error text as the answer,
    repaired scoring has no answer. Think blocks are removed under both.

    Source: docs/protocol.md, "Requests to the model server".
    """
    if completion.error is not None or completion.http_status != 200:
        refused = completion.http_status == TOO_LONG_STATUS
        return completion.error if refused and scoring == "published" else None
    return without_think_block(completion.text or "")


def completion_marks(completion: Completion) -> tuple[str, ...]:
    """Return what is worth counting about a completion, whatever its score.

    ``prompt-too-long``: the server refused the prompt. :data:`NO_ANSWER_MARK`: it failed
    otherwise.
    """
    if completion.http_status == TOO_LONG_STATUS:
        return ("prompt-too-long",)
    failed = completion.error is not None or completion.http_status != 200
    return (NO_ANSWER_MARK,) if failed else ()


def score_number(
    sample: Sample,
    completion: Completion,
    scoring: Scoring,
    *,
    target: str,
    unwrap: Callable[[str], str] = str,
) -> SampleScore:
    """Score 1 if the number at the end of the answer is the target, else 0.

    Args:
        sample: The sample.
        completion: What the model answered.
        scoring: Published or repaired numeric match.
        target: The number that is right.
        unwrap: What is done to the answer before the match.
    """
    marks = completion_marks(completion)
    text = scored_text(completion, scoring)
    if text is None:
        return SampleScore(id=sample.id, value=0.0, marks=marks)
    match = match_published if scoring == "published" else match_repaired
    verdict = match(unwrap(text), target)
    return SampleScore(
        id=sample.id,
        value=float(verdict.correct),
        answer=verdict.answer,
        marks=(*marks, RAISES_MARK) if verdict.raises else marks,
    )
