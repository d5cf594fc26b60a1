"""How much room a file system has for this user."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from ptb_core.sizes import in_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Free room.

    Attributes:
        path: The folder that was asked about, or its nearest parent that exists.
        bytes: Free for this user.
        inodes: Free for this user; None where the file system does not count them.
        device: Number of the file system.
    """

    path: Path
    bytes: int
    inodes: int | None
    device: int


def space_at(folder: Path) -> Space:
    """Return the room where a folder lies or would be made.

    Raises:
        OSError: If the file system cannot be asked, or has no room at all to speak of.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    facts = os.statvfs(place)
    if not facts.f_blocks:
        raise OSError(errno.ENOTSUP, "no file system with room of its own", str(place))
    return Space(
        path=place,
        bytes=facts.f_bavail * facts.f_frsize,
        inodes=facts.f_favail if facts.f_files else None,
        device=place.stat().st_dev,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Room that something takes: bytes and inodes."""

    bytes: int
    inodes: int

    def __add__(self, other: Need) -> Need:
        return Need(bytes=self.bytes + other.bytes, inodes=self.inodes + other.inodes)

    def times(self, factor: int) -> Need:
        """Return what several of these take."""
        return Need(bytes=self.bytes * factor, inodes=self.inodes * factor)

    def shortage(self, space: Space) -> str:
        """Return in words what is needed and what is free; empty when there is room."""
        if space.bytes < self.bytes:
            free = in_words(space.bytes)
            return f"needs {in_words(self.bytes)}, {free} free at {space.path}"
        if space.inodes is not None and space.inodes < self.inodes:
            free = f"{space.inodes} free at {space.path}"
            return f"needs {self.inodes} inodes (files and folders), {free}"
        return ""


NOTHING = Need(bytes=0, inodes=0)
