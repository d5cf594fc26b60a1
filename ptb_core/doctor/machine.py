"""Processors, memory, limits of this user's processes, and clocks."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptb_core.doctor.findings import Finding, ok, problem, warning
from ptb_core.sizes import GIB

CELL_MEMORY_GIB = 4.0
"""Memory that a cell is taken to need when its plan sets no limit."""
OPEN_FILES = 1024
PROCESSES = 1024
"""Fewer than these make training programs fail in the middle: data loaders and thread pools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this process may use.

    Attributes:
        cpus: Processors of the machine.
        own_cpus: Processors that this process may run on.
        memory_bytes: Memory of the machine.
        own_memory_bytes: Limit of this process's control group; None without one.
        open_files: Most files that a process may have open; None for no limit.
        processes: Most processes and threads of this user; None for no limit.
    """

    cpus: int
    own_cpus: int
    memory_bytes: int
    own_memory_bytes: int | None
    open_files: int | None
    processes: int | None


def findings() -> Iterator[Finding]:
    """Yield what this machine has."""
    return machine_findings(look_at_machine())


def look_at_machine() -> Machine:
    """Read what this process may use."""
    return Machine(
        cpus=os.cpu_count() or 1,
        own_cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        own_memory_bytes=_group_limit(Path("/sys/fs/cgroup/memory.max")),
        open_files=_soft_limit(resource.RLIMIT_NOFILE),
        processes=_soft_limit(resource.RLIMIT_NPROC),
    )


def machine_findings(machine: Machine) -> Iterator[Finding]:
    """Yield what a machine is good for."""
    yield _cpu_finding(machine)
    yield _memory_finding(machine)
    for what, limit, least, option in (
        ("open files", machine.open_files, OPEN_FILES, "-n"),
        ("processes and threads", machine.processes, PROCESSES, "-u"),
    ):
        if limit is None or limit >= least:
            yield ok(f"{what}: {'no limit' if limit is None else f'up to {limit}'}")
            continue
        advice = f"raise it before `ptb run`: ulimit {option} {4 * least}"
        yield warning(f"{what}: only {limit}, and training programs may need {least}", advice)


def _cpu_finding(machine: Machine) -> Finding:
    count = "1 processor" if machine.cpus == 1 else f"{machine.cpus} processors"
    if machine.own_cpus < machine.cpus:
        return ok(f"{count}, of which this process may use {machine.own_cpus}")
    return ok(count)


def _memory_finding(machine: Machine) -> Finding:
    usable = min(machine.memory_bytes, machine.own_memory_bytes or machine.memory_bytes)
    text = f"{machine.memory_bytes / GIB:.1f} GiB of memory"
    if usable < machine.memory_bytes:
        text += f", of which this process's control group may use {usable / GIB:.1f}"
    if usable / GIB >= CELL_MEMORY_GIB:
        return ok(text)
    advice = "run one cell at a time with a small model, or use a machine with more memory"
    return warning(f"{text}; a cell is taken to need {CELL_MEMORY_GIB:g} GiB", advice)


def _group_limit(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None


def _soft_limit(which: int) -> int | None:
    soft, _ = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft


# Clocks ---------------------------------------------------------------------------------------


def clock_findings() -> Iterator[Finding]:
    """Yield whether deadlines can be kept: they lie on the wall clock and the boot clock."""
    try:
        boot_s: float | None = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        boot_s = None
    installed_s = Path(__file__).stat().st_mtime
    return judge_clocks(time.time(), boot_s, installed_s)


def judge_clocks(
    wall_unix_s: float, boot_s: float | None, installed_unix_s: float
) -> Iterator[Finding]:
    """Yield what is wrong with the clocks.

    Args:
        wall_unix_s: Now.
        boot_s: Seconds since boot; None when that clock cannot be read.
        installed_unix_s: When this program was installed: it cannot be earlier than that.
    """
    if wall_unix_s < installed_unix_s - 86_400:
        fact = f"the wall clock says {_day(wall_unix_s)}, but this program was installed on "
        fact += _day(installed_unix_s)
        yield problem(fact, "set the clock (NTP): deadlines and records carry it")
    else:
        yield ok(f"wall clock: {_day(wall_unix_s)}")
    if boot_s is None:
        fact = "the boot clock cannot be read, so a changed wall clock could move deadlines"
        yield problem(fact, "use a Linux kernel with CLOCK_BOOTTIME, outside of emulators")
    else:
        yield ok(f"boot clock: up for {boot_s / 3600:.1f} hours")


def _day(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_s))
