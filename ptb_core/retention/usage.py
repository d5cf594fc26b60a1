"""What things really take on the disk, and what their removal really frees."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 512
"""Unit of ``st_blocks``, whatever the file system's own blocks are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes of blocks on the disk, and inodes."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(bytes=self.bytes + other.bytes, inodes=self.inodes + other.inodes)


def freed(paths: Sequence[Path]) -> list[Usage]:
    """Return what each path adds to what the removal of all of them frees.

    Holes take no room. A file that has further names beyond these paths frees nothing; one whose
    names all go counts once, with the first of them. Links are not followed.
    """
    found = [list(_inodes(path)) for path in paths]
    names: dict[tuple[int, int], int] = {}
    for inodes in found:
        for status in inodes:
            names[_key(status)] = names.get(_key(status), 0) + 1
    counted: set[tuple[int, int]] = set()
    return [_sum(inodes, names, counted) for inodes in found]


def _sum(
    inodes: Sequence[os.stat_result],
    names: dict[tuple[int, int], int],
    counted: set[tuple[int, int]],
) -> Usage:
    total = Usage()
    for status in inodes:
        key = _key(status)
        goes = stat.S_ISDIR(status.st_mode) or names[key] >= status.st_nlink
        if goes and key not in counted:
            counted.add(key)
            total += Usage(bytes=status.st_blocks * BLOCK_BYTES, inodes=1)
    return total


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _inodes(path: Path) -> Iterator[os.stat_result]:
    """Yield the status of a path and of all below it; what is gone or closed is passed over."""
    try:
        status = path.lstat()
        yield status
        children = sorted(path.iterdir()) if stat.S_ISDIR(status.st_mode) else []
    except OSError:
        return
    for child in children:
        yield from _inodes(child)
