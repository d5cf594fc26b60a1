"""Sizes in words."""

from __future__ import annotations

MIB = 2**20
GIB = 2**30


def in_words(size_bytes: float) -> str:
    """Return a size in GiB from one GiB on, in MiB below."""
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.1f} MiB"
