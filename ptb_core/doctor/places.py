"""Where things are kept: the cache, run folders, temporary files. Writable, with room?"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptb_core.doctor.findings import Finding, ok, problem, warning
from ptb_core.sizes import GIB

SUBMISSION_GIB = 8
"""Largest submission of the published models, in GiB; the smallest of the four takes 3."""
TEMPORARY_GIB = 1
SKEW_S = 2.0
"""Largest difference between this machine's clock and a file server's that needs no word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder and what can be done there.

    Attributes:
        role: What it is for, such as ``run folders``.
        path: The folder; it need not exist.
        free_bytes: Room on its file system.
        fault: Why nothing can be written there; empty when it can.
        skew_s: How far the file server's clock is ahead of this machine's.
    """

    role: str
    path: Path
    free_bytes: int
    fault: str
    skew_s: float


def findings() -> Iterator[Finding]:
    """Yield how each place stands; writes and removes one empty file in each."""
    from ptb_core.cache import cache_root

    try:
        cache: Path | None = cache_root()
    except RuntimeError:  # neither PTB_CACHE nor a home folder
        cache = None
    if cache is None:
        yield warning("cache: there is no home folder to keep it in", _CACHE_ADVICE)
    else:
        yield from cache_findings(look_at_place("cache", cache))
    yield from run_findings(look_at_place("run folders", Path("ptb-runs").absolute()))
    yield from temporary_findings(look_at_place("temporary files", Path("/tmp")))


_CACHE_ADVICE = "set PTB_CACHE to a folder with room that you may write to"
_RUN_ADVICE = "start `ptb run` in another folder, or name one with --run-dir"


def look_at_place(role: str, path: Path) -> Place:
    """Try a folder, or the nearest that exists above it."""
    existing = next((one for one in (path, *path.parents) if one.exists()), path)
    fault, skew_s, free = "", 0.0, 0
    try:
        free = shutil.disk_usage(existing).free
        skew_s = _probe(existing)
    except OSError as error:
        fault = error.strerror or str(error)
    return Place(role=role, path=path, free_bytes=free, fault=fault, skew_s=skew_s)


def _probe(folder: Path) -> float:
    before = time.time()
    descriptor, name = tempfile.mkstemp(prefix=".ptb-doctor-", dir=folder)
    try:
        written = os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            Path(name).unlink()
    after = time.time()
    return min(written - before, written - after, key=abs)


def cache_findings(place: Place) -> Iterator[Finding]:
    """Yield how the cache stands; without it, what ships with the project still runs."""
    if place.fault:
        yield warning(f"{_named(place)} cannot be written ({place.fault})", _CACHE_ADVICE)
        return
    yield _room(place, SUBMISSION_GIB, "a model of 4 billion parameters takes 8", _CACHE_ADVICE)


def run_findings(place: Place) -> Iterator[Finding]:
    """Yield how the place of run folders stands, its file server's clock included."""
    if place.fault:
        yield problem(f"{_named(place)} cannot be written ({place.fault})", _RUN_ADVICE)
        return
    needed = "a cell's submission takes 3 to 8"
    yield _room(place, SUBMISSION_GIB, needed, f"make room, or {_RUN_ADVICE}")
    if abs(place.skew_s) > SKEW_S:
        direction = "ahead of" if place.skew_s > 0 else "behind"
        fact = f"run folders: the clock of their file server is {abs(place.skew_s):.0f} s "
        fact += f"{direction} this machine's"
        advice = "set both (NTP): cells are safe, for claims keep to the file server's clock, but "
        yield warning(fact, advice + "times in records differ")


def temporary_findings(place: Place) -> Iterator[Finding]:
    """Yield whether temporary files can be made: sandboxes and training programs need them."""
    advice = "make it writable for everybody with the sticky bit set (mode 1777)"
    if place.fault:
        yield problem(f"{_named(place)} cannot be written ({place.fault})", advice)
        return
    yield _room(place, TEMPORARY_GIB, "programs may need 1", "make room there")


def _room(place: Place, least_gib: int, needed: str, advice: str) -> Finding:
    free = place.free_bytes / GIB
    fact = f"{_named(place)}: {free:.1f} GiB free"
    return ok(fact) if free >= least_gib else warning(f"{fact}; {needed} GiB", advice)


def _named(place: Place) -> str:
    return f"{place.role} ({place.path})"
