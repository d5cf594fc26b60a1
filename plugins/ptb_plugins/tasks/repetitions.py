"""The repetition limit: what a judge reads of an answer that goes round in circles.

Source: docs/protocol.md, "repetition limit"; golden rows ``limit-repetitions-*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from operator import eq

from ptb_plugins.tasks.repeated_strings import limit_repeated_strings

MOST = 5
"""Copies in a row that are left of anything."""

ROUNDS = 10
"""Times that lines, blocks and strings are gone through, at most."""

LONGEST_BLOCK = 29
"""Lines of the longest block that is looked for."""


def limit_repetitions(text: str) -> str:
    """Return the text with repeated lines, blocks of lines and strings cut to five copies.

    Takes time in proportion to the text's length: 0.03 to 0.3 s for 100 kB, whatever they hold.
    """
    for _ in range(ROUNDS):
        before = text
        lines = _limit_lines(text.split("\n"))
        text = limit_repeated_strings("\n".join(_limit_blocks(lines)), MOST)
        if text == before:
            break
    return text


def _limit_lines(lines: Sequence[str]) -> list[str]:
    return [line for _, copies in groupby(lines) for line in islice(copies, MOST)]


def _limit_blocks(lines: list[str]) -> list[str]:
    """Cut the first repeated block of the smallest size that has one; others wait for a round.

    What follows it goes too when it is the beginning of a further copy, broken off.
    """
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(line, len(numbers)) for line in lines]
    for size in range(2, min(LONGEST_BLOCK, len(lines) // MOST) + 1):
        marks = bytes(map(eq, codes, codes[size:]))
        start = marks.find(b"\1" * (MOST * size))
        if start < 0:
            continue
        stop = marks.find(b"\0", start)
        length = (len(marks) if stop < 0 else stop) - start
        end = start + (1 + length // size) * size
        block, rest = lines[start : start + size], lines[end:]
        return lines[:start] + block * MOST + ([] if _is_broken_copy(rest, block) else rest)
    return lines


def _is_broken_copy(lines: Sequence[str], block: Sequence[str]) -> bool:
    return len(lines) <= len(block) and all(map(_begin_alike, lines, block))


def _begin_alike(line: str, model: str) -> bool:
    """Say whether two lines are equal, or one, stripped and not blank, begins the other."""
    short, whole = line.strip(), model.strip()
    return (
        line == model
        or (short != "" and model.startswith(short))
        or (whole != "" and line.startswith(whole))
    )
