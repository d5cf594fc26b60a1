"""What the grader is asked, and what counts as its verdict.

Source: docs/protocol.md, "healthbench"; golden rows ``healthbench-grader-*`` and
``request-healthbench-grader-*``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ptb_core.api import JsonValue
from ptb_plugins.tasks.healthbench.rubric import Criterion

CONVERSATION = "<<conversation>>"
RUBRIC_ITEM = "<<rubric_item>>"
"""Placeholders of the grader's template; each stands in it once."""

_PLACEHOLDER = re.compile(f"{CONVERSATION}|{RUBRIC_ITEM}")


def conversation_text(turns: Sequence[Mapping[str, JsonValue]], answer: str) -> str:
    """Return the conversation with the answer as its last turn, as the grader reads it."""
    last: Mapping[str, JsonValue] = {"role": "assistant", "content": answer}
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in (*turns, last))


def published_question(template: str, conversation: str, criterion: Criterion) -> str:
    """Fill in the conversation first and the criterion second, also where the former names it."""
    filled = template.replace(CONVERSATION, conversation)
    return filled.replace(RUBRIC_ITEM, rubric_item(criterion))


def repaired_question(template: str, conversation: str, criterion: Criterion) -> str:
    """Fill in both at once, so that placeholders in a conversation stay what they are."""
    fillings = {CONVERSATION: conversation, RUBRIC_ITEM: rubric_item(criterion)}
    return _PLACEHOLDER.sub(lambda found: fillings[found[0]], template)


def rubric_item(criterion: Criterion) -> str:
    """Return a criterion with its points, as the grader reads it: ``[5] Says ...``."""
    return f"[{criterion.points:g}] {criterion.criterion}"


def read_verdict(reply: str) -> bool | None:
    """Return whether the criterion is met, or None when the reply does not say so.

    One leading "```json" and one trailing "```" are removed; what is left must be a JSON object
    whose ``criteria_met`` is true or false. Of a repeated key the last counts.
    """
    text = reply.strip()
    if text.startswith("```json"):
        text = text.removeprefix("```json").lstrip()
    text = text.removesuffix("```").rstrip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    verdict = value.get("criteria_met") if isinstance(value, dict) else None
    return verdict if isinstance(verdict, bool) else None
