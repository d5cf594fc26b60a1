r"""Finding the letter that a completion gives as its answer.

The rule is two regular expressions, without regard to case; the first that matches decides::

    ^ANSWER\s*:\s*([A-Za-z\d ,]+)\s*(?:$|\n|\.)        at the start of any line
    ANSWER\s*:\s*([A-Za-z\d ,]+)(?:[^\w]|\n|$|\.)      anywhere

Run as they stand they take cubic time on a label that thousands of blanks follow, so the same
text is found here in linear time; a test compares the two.

Source: docs/protocol.md, "gpqamain".
"""

from __future__ import annotations

import re

_LABEL_OF_LINE = re.compile(r"^ANSWER\s*:", re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(r"ANSWER\s*:", re.IGNORECASE)
_SPACE = re.compile(r"\s*")
_WORDS = re.compile(r"[A-Za-z\d ,]*", re.IGNORECASE)
_WORD_CHARACTER = re.compile(r"\w")


def answer_text(text: str) -> str | None:
    """Return the text behind the answer's label, stripped; None when there is no such label.

    The text is empty where blanks alone stand behind the label.
    """
    for find, read in ((_LABEL_OF_LINE, _whole_line), (_LABEL, _up_to_a_boundary)):
        for label in find.finditer(text):
            found = read(text, label.end())
            if found is not None:
                return found.strip()
    return None


def _whole_line(text: str, start: int) -> str | None:
    """Return what the first expression captures behind a label, or None where it fails."""
    first = _space_end(text, start)
    last = _words_end(text, first)
    if first == last:
        # Blanks may be the captured text: from the first blank to the end, a dot or a new line.
        blank = text.find(" ", start, first)
        closed = first == len(text) or text[first] == "."
        return "" if blank >= 0 and (closed or "\n" in text[blank:first]) else None
    behind = _space_end(text, last)
    if behind == len(text) or text[behind] == "." or "\n" in text[last:behind]:
        return text[first:last]
    blank = text.find(" ", start, first)
    return "" if blank >= 0 and "\n" in text[blank:first] else None


def _up_to_a_boundary(text: str, start: int) -> str | None:
    """Return what the second expression captures behind a label, or None where it fails."""
    first = _space_end(text, start)
    last = _words_end(text, first)
    if first < last:
        if not _is_word_character(text, last):
            return text[first:last]
        boundary = max(text.rfind(" ", first + 1, last), text.rfind(",", first + 1, last))
        if boundary >= 0:
            return text[first:boundary]
    blank = text.find(" ", start, first)
    if blank < 0:
        return None
    return "" if blank + 1 < first or not _is_word_character(text, first) else None


def _space_end(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return start if match is None else match.end()


def _words_end(text: str, start: int) -> int:
    match = _WORDS.match(text, start)
    return start if match is None else match.end()


def _is_word_character(text: str, index: int) -> bool:
    return _WORD_CHARACTER.match(text, index) is not None
