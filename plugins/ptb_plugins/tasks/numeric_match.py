"""The numeric match of gsm8k and aime2025: is the number that an answer ends with the target?

*Published* is the match of the published benchmark with its false verdicts; *repaired* is exact
numeric equality after the same extraction. Both take the answer without its think block.

Source: docs/protocol.md, "Numeric match"; golden rows of gsm8k and aime2025.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from fractions import Fraction

from ptb_plugins.tasks.unicode_numbers import (
    UnreadableNumberError,
    is_numeric_word,
    read_number,
)

SIGNIFICANT_DIGITS = 5
"""Digits to which published scoring rounds both sides."""

_MARKS = str.maketrans("", "", "$,£€*_")
_LOOSE_DOT = re.compile(r"\.(?!\d)")
_ENDS = string.whitespace + string.punctuation
_SIGNS = {"+": 1, "-": -1, "−": -1, "–": -1, "－": -1, "＋": 1, "﹣": -1}
_BOX = "\\boxed{"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericVerdict:
    """What the match says.

    Attributes:
        correct: True when the answer counts as the target.
        answer: What was taken as the answer; None when the published code raises.
        raises: True when the published code dies of this answer.
    """

    correct: bool
    answer: str | None
    raises: bool = False


def match_published(text: str, target: str) -> NumericVerdict:
    """Match as the published benchmark does; never raises."""
    stripped = text.strip()
    answer, wanted = stripped.casefold(), target.strip().casefold()
    if not wanted.isnumeric():
        correct = answer.strip(_ENDS).endswith(wanted.strip(_ENDS))
        return NumericVerdict(correct=correct, answer=stripped)
    try:
        wanted, answer = _rounded(_without_marks(wanted)), _rounded(_last_number_word(answer))
    except UnreadableNumberError:
        return NumericVerdict(correct=False, answer=None, raises=True)
    return NumericVerdict(correct=answer.endswith(wanted), answer=answer)


def match_repaired(text: str, target: str) -> NumericVerdict:
    """Match by exact numeric equality; never raises.

    The words are those of the published match, with two differences: a word may have a sign, and
    when no word is numeric, the number that the last word ends with counts, punctuation after it
    aside (``x=29``, ``-10:``, ``boxed{5,600}``). A sign that stands alone is no sign: it may as
    well be the mark of a list.
    """
    word = _last_signed_word(text.strip().casefold())
    wanted = _exact(_without_marks(target.strip().casefold()))
    found = _exact(word)
    if wanted is None:
        return NumericVerdict(correct=word == target.strip().casefold(), answer=word)
    return NumericVerdict(correct=found is not None and found == wanted, answer=word)


def is_number(target: str) -> bool:
    """Return True when the repaired match can read a target."""
    return _exact(_without_marks(target.strip().casefold())) is not None


def unboxed(text: str) -> str:
    r"""Return the text with ``\boxed{...}`` unwrapped, greedily and once per line.

    Source: docs/protocol.md, "aime2025".
    """
    return "\n".join(map(_unboxed_line, text.split("\n")))


def _unboxed_line(line: str) -> str:
    start, end = line.find(_BOX), line.rfind("}")
    inner = start + len(_BOX)
    if start < 0 or end <= inner:
        return line
    return line[:start] + line[inner:end] + line[end + 1 :]


def _without_marks(text: str) -> str:
    return _LOOSE_DOT.sub("", text.translate(_MARKS))


def _words(text: str) -> list[str]:
    # Unlike str.split(), keeps the empty words that are left where only marks stood.
    return re.split(r"\s+", _without_marks(text))


def _last_number_word(text: str) -> str:
    words = _words(text)
    return next((word for word in reversed(words) if is_numeric_word(word)), words[-1])


def _rounded(word: str) -> str:
    if not is_numeric_word(word):
        return word
    return format(read_number(word).value, f".{SIGNIFICANT_DIGITS}g")


def _last_signed_word(text: str) -> str:
    words = _words(text)
    for word in reversed(words):
        if is_numeric_word(word) or (word[:1] in _SIGNS and is_numeric_word(word[1:])):
            return word
    return _trailing_number(words[-1].rstrip(_ENDS))


def _trailing_number(word: str) -> str:
    """Return the numeric end of a word, with a sign that does not join it to a word before."""
    start = len(word)
    while start and (word[start - 1] == "." or word[start - 1].isnumeric()):
        start -= 1
    signed = start and word[start - 1] in _SIGNS and not word[start - 2 : start - 1].isalnum()
    return word[start - 1 if signed else start :] if start < len(word) else word


def _exact(word: str) -> Fraction | None:
    sign = _SIGNS.get(word[:1])
    digits = word if sign is None else word[1:]
    if not is_numeric_word(digits):
        return None
    try:
        exact = read_number(digits).exact
    except UnreadableNumberError:
        return None
    return exact if exact is None or sign is None else sign * exact
