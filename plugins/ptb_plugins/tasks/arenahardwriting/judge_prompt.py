"""The wording of the judge's question.

::

    [system]
    Instructions that name the five verdicts.
    [user]
    {question}
    {answer_a}
    {answer_b}

A text without the two headings is one user message. ``{question}``, ``{answer_a}`` and
``{answer_b}`` stand exactly once; ``{fence}`` may stand anywhere and becomes a number that
depends on the three texts, so that none of them can hold it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from ptb_core.api import GRADER_PROMPT, DataDir, DataError, JsonValue
from ptb_plugins.tasks.arenahardwriting.verdicts import LABELS

SHIPPED = "judge-prompt"
"""Name of the data file that holds the shipped wording."""

_ONCE = ("{question}", "{answer_a}", "{answer_b}")
_PLACEHOLDER = re.compile(r"\{(question|answer_a|answer_b|fence)\}")
_SECTIONS = re.compile(r"\[system\]\n(.*?)\n\[user\]\n(.*)", re.DOTALL)


def judge_wording(data: DataDir) -> dict[str, JsonValue]:
    """Return the wording by role: ``user``, and ``system`` where the text has the headings.

    Raises:
        DataError: If the text cannot be read, lacks a placeholder or a label, has a placeholder
            twice, or one heading without the other.
    """
    text, origin = _text(data)
    unfit = "; ".join(wording_faults(text))
    if unfit:
        raise DataError(f"arenahardwriting: {origin} cannot be used: {unfit}")
    sections = _SECTIONS.fullmatch(text)
    if sections is None:
        return {"user": text}
    return {"system": sections[1].strip(), "user": sections[2].strip()}


def wording_faults(text: str) -> tuple[str, ...]:
    """Return what keeps a wording from being used."""
    text = text.strip()
    counts = {placeholder: text.count(placeholder) for placeholder in _ONCE}
    found = [
        f"it holds {placeholder} {count} times, expected exactly once"
        for placeholder, count in counts.items()
        if count != 1
    ]
    missing = [f"[[{label}]]" for label in LABELS if f"[[{label}]]" not in text]
    if missing:
        found.append(f"it must offer every verdict, and lacks {', '.join(missing)}")
    if _SECTIONS.fullmatch(text) is None and {"[system]", "[user]"} & set(text.splitlines()):
        found.append(
            "it must begin with the line [system] and have a later line [user] with text below, "
            "or have neither line"
        )
    return tuple(found)


def _text(data: DataDir) -> tuple[str, str]:
    if GRADER_PROMPT in data.prompts:
        return data.prompts[GRADER_PROMPT].strip(), "the judge prompt that the plan names"
    path = data.file(SHIPPED)
    try:
        return path.read_text("utf-8").strip(), f"the judge prompt {path}"
    except (OSError, ValueError) as error:
        raise DataError(
            f"arenahardwriting: the judge prompt {path} cannot be read ({error}); install "
            "posttrainbench again"
        ) from error


def judge_messages(
    wording: Mapping[str, JsonValue], question: str, answer_a: str, answer_b: str
) -> tuple[Mapping[str, JsonValue], ...]:
    """Return the messages of one game; braces in the three texts are left alone."""
    texts = (question, answer_a, answer_b)
    fence = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    names = ("question", "answer_a", "answer_b", "fence")
    fillings = dict(zip(names, (*texts, fence), strict=True))
    return tuple(
        {
            "role": role,
            "content": _PLACEHOLDER.sub(lambda found: fillings[found[1]], str(wording[role])),
        }
        for role in ("system", "user")
        if role in wording
    )
