"""Processes of this host, told apart by pid *and* start time, so that a reused pid is nobody."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def boot_id() -> str:
    """Return the id of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def pid_namespace() -> str:
    """Return what tells the processes that can be seen from here from those of a container."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start_time(pid: int) -> int | None:
    """Return a process's start in clock ticks since boot, or None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_same_process(pid: int, started: int) -> bool:
    """Return True while the process that had this pid and start time lives."""
    return process_start_time(pid) == started
