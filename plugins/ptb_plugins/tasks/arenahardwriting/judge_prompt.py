"""The wording of the judge's question, read from a file.

::

    [system]
    Instructions that name the five verdicts.
    [user]
    {question}
    {answer_a}
    {answer_b}

A file without the two headings is one user message. ``{question}``, ``{answer_a}`` and
``{answer_b}`` stand exactly once; ``{fence}`` may stand anywhere and becomes a number that
depends on the three texts, so that none of them can hold it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ptb_core.api import DataError, JsonValue
from ptb_plugins.tasks.arenahardwriting.verdicts import LABELS

_ONCE = ("{question}", "{answer_a}", "{answer_b}")
_PLACEHOLDER = re.compile(r"\{(question|answer_a|answer_b|fence)\}")
_HEADINGS = re.compile(r"\[system\]\n(.*?)\n\[user\]\n(.*)", re.DOTALL)


def read_judge_prompt(path: Path) -> dict[str, JsonValue]:
    """Return the wording by role: ``user``, and ``system`` where the file has headings.

    Raises:
        DataError: If the file cannot be read, lacks a placeholder or a label, or has a
            placeholder twice.
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise DataError(
            f"arenahardwriting: the judge prompt {path} cannot be read ({error})"
        ) from error
    for placeholder in _ONCE:
        if text.count(placeholder) != 1:
            raise DataError(
                f"arenahardwriting: the judge prompt {path} holds {placeholder} "
                f"{text.count(placeholder)} times, expected exactly once"
            )
    missing = [f"[[{label}]]" for label in LABELS if f"[[{label}]]" not in text]
    if missing:
        raise DataError(
            f"arenahardwriting: the judge prompt {path} must offer every verdict; it lacks "
            f"{', '.join(missing)}"
        )
    parts = _HEADINGS.fullmatch(text)
    if parts is None:
        return {"user": text}
    return {"system": parts[1].strip(), "user": parts[2].strip()}


def judge_messages(
    wording: dict[str, JsonValue], question: str, answer_a: str, answer_b: str
) -> tuple[dict[str, JsonValue], ...]:
    """Return the messages of one game; braces in the three texts are left alone."""
    texts = (question, answer_a, answer_b)
    fence = hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:16]
    fillings = dict(
        zip(("question", "answer_a", "answer_b", "fence"), (*texts, fence), strict=True)
    )
    return tuple(
        {
            "role": role,
            "content": _PLACEHOLDER.sub(lambda found: fillings[found[1]], str(wording[role])),
        }
        for role in ("system", "user")
        if role in wording
    )
