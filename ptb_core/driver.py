"""``ptb run``: places every cell that is not done, follows them, and says how it went.

The driver owns nothing: cells belong to their supervisors, which outlive it. Started again on the
same run folder it follows the cells that run, starts the dead ones and repeats none that is done.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

import msgspec

from ptb_core.catalogue import Catalogue
from ptb_core.copies import is_copy
from ptb_core.disk.faults import naming_disk_faults
from ptb_core.disk.gate import DiskGate
from ptb_core.errors import PluginError, PtbError
from ptb_core.interfaces import CellCommand, Executor, JobHandle, Resources
from ptb_core.journal import append_line, read_lines
from ptb_core.plan import Plan
from ptb_core.run_folder import Run, RunFolder
from ptb_core.run_watch import RunWatch
from ptb_core.specs import CellSpec
from ptb_core.status import CellStatus

POLL_S = 1.0
SUPERVISORS = 3
"""Supervisors that one driver starts for a cell, should they die without recording anything."""
EVALUATION_HOURS = 9.0
"""Hours beyond the agent's own that a cell may take: generation's limit and an hour of margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One line of ``jobs.jsonl``: which job was submitted for which cell, from which folder."""

    cell: str
    handle: JobHandle
    submitted_unix_s: float
    folder: str = ""


@dataclass(slots=True, kw_only=True)
class Pass:
    """What one ``ptb run`` has done so far.

    Attributes:
        jobs: Jobs that have not ended, submitted by this driver or an earlier one, by cell.
        submitted: How often this driver has submitted each cell.
        failures: When the record of a failure was made that a cell had when it was submitted.
    """

    jobs: dict[str, JobHandle] = field(default_factory=dict)
    submitted: dict[str, int] = field(default_factory=dict)
    failures: dict[str, float] = field(default_factory=dict)


class RunCancelledError(PtbError):
    """``ptb cancel`` was called while the run was driven."""

    exit_code = 130


Watcher = Callable[[tuple[CellStatus, ...]], None]


def refuse_obstacles(plan: Plan) -> None:
    """Make sure that this machine can run the plan.

    Raises:
        PluginError: If not; lists every reason.
    """
    if plan.obstacles:
        reasons = "\n".join(indent(obstacle, "  ") for obstacle in plan.obstacles)
        raise PluginError(
            f"the plan {plan.name!r} cannot run here; nothing was started:\n{reasons}"
        )


def drive(
    run_folder: RunFolder,
    run: Run,
    catalogue: Catalogue,
    watch: Watcher,
    only: frozenset[str] | None = None,
) -> bool:
    """Run all cells that are not done and wait for them.

    Args:
        run_folder: The run's folder.
        run: Its head.
        catalogue: Components.
        watch: Called about once a second with how every cell stands.
        only: Ids of the cells to look at; None for all.

    Returns:
        True when every one of them is recorded and none counts as missing.

    Raises:
        RunCancelledError: If ``ptb cancel`` was called on the run.
        DiskFaultError: If the run folder's disk is full, read-only or failing; running cells go
            on, and no new one is started.
    """
    with naming_disk_faults("the run was left", run_folder.path):
        cells = [cell for cell in run.cells if only is None or cell.id in only]
        return _drive(run_folder, run, cells, catalogue, watch)


def _drive(
    run_folder: RunFolder,
    run: Run,
    cells: Sequence[CellSpec],
    catalogue: Catalogue,
    watch: Watcher,
) -> bool:
    executor = catalogue.executor(run.plan.executor.name)
    state = Pass(jobs=_known_jobs(run_folder))
    run_watch = RunWatch(run_folder, cells)
    gate = DiskGate(run_folder, run.plan, catalogue, say=_say)
    if run_folder.cancelled.exists():  # a finished run may lie on a read-only file system
        run_folder.cancelled.unlink(missing_ok=True)
    while True:
        if run_folder.cancelled.exists():
            raise RunCancelledError(
                f"{run_folder.path} was cancelled by `ptb cancel`; `ptb run` on it continues it"
            )
        running = _running(state, executor)  # before the statuses: what has ended left all it will
        statuses = run_watch.look(running)
        watch(statuses)
        busy = {s.cell.id for s in statuses if _is_busy(s, running)}
        waiting = [s for s in statuses if _is_waiting(s, state) and s.cell.id not in busy]
        if not busy and not waiting:
            return all(s.is_complete for s in statuses)
        slots = executor.slots(run.plan.executor.settings)
        free = len(waiting) if slots is None else max(0, slots - len(busy))
        gate.look([status for status in statuses if status.cell.id in busy])
        for status in waiting[:free]:
            if not gate.admits(status.cell):
                break
            if status.record is not None:
                state.failures[status.cell.id] = status.record.created_unix_s
            _submit(run_folder, run, executor, status.cell, state)
        time.sleep(POLL_S)


def _say(words: str) -> None:
    print(f"ptb: {words}", file=sys.stderr, flush=True)


def _running(state: Pass, executor: Executor) -> set[str]:
    """Return the cells whose job is queued or running; a job that has ended is forgotten."""
    for cell_id, job in list(state.jobs.items()):
        if executor.poll(job).state not in ("queued", "running"):
            del state.jobs[cell_id]
    return set(state.jobs)


def _is_busy(status: CellStatus, running: set[str]) -> bool:
    return not status.is_recorded and (status.cell.id in running or status.is_alive)


def _is_waiting(status: CellStatus, state: Pass) -> bool:
    """A cell that is not done waits, unless it failed here or its supervisors keep dying.

    The record of an earlier failure is still there when a supervisor dies that was to try again.
    """
    submitted = state.submitted.get(status.cell.id, 0)
    failure = status.record.created_unix_s if status.record is not None else None
    is_new = failure != state.failures.get(status.cell.id)
    failed_here = submitted > 0 and status.stage == "failed" and is_new
    return not status.is_recorded and not failed_here and submitted < SUPERVISORS


def _submit(
    run_folder: RunFolder, run: Run, executor: Executor, cell: CellSpec, state: Pass
) -> None:
    folder = run_folder.cell(cell.id)
    folder.path.mkdir(parents=True, exist_ok=True)
    handle = executor.submit(
        CellCommand(cell=cell.id, argv=supervisor_argv(run_folder.path, cell), log=folder.log),
        resources_of(run.plan, cell),
        run.plan.executor.settings,
    )
    state.submitted[cell.id] = state.submitted.get(cell.id, 0) + 1
    state.jobs[cell.id] = handle
    here = str(run_folder.path)
    job = Job(cell=cell.id, handle=handle, submitted_unix_s=time.time(), folder=here)
    append_line(run_folder.jobs, msgspec.json.encode(job))


def supervisor_argv(run_folder: Path, cell: CellSpec) -> tuple[str, ...]:
    """Return the command line of a cell's supervisor."""
    return (sys.executable, "-m", "ptb_core.cli.main", "cell", str(run_folder), cell.id)


def resources_of(plan: Plan, cell: CellSpec) -> Resources:
    """Return what a cell needs from the executor."""
    solve_hours = plan.condition.hours if cell.kind == "agent" else 0.0
    limits = plan.sandbox.limits
    return Resources(
        gpus=plan.condition.gpus,
        cpus=limits.cpus or 1.0,
        memory_gib=limits.memory_gib or 4.0,
        hours=solve_hours + EVALUATION_HOURS,
    )


def cancel(run_folder: RunFolder, run: Run, catalogue: Catalogue) -> int:
    """Ask every running supervisor of a run to stop; return how many were asked.

    A command line that drives the run starts nothing new and ends.
    """
    run_folder.cancelled.touch()
    executor = catalogue.executor(run.plan.executor.name)
    asked = 0
    for job in _known_jobs(run_folder).values():
        if executor.poll(job).state in ("queued", "running"):
            executor.cancel(job)
            asked += 1
    return asked


def _known_jobs(run_folder: RunFolder) -> dict[str, JobHandle]:
    """Return the last job submitted for each cell.

    Torn or damaged lines are skipped, and those of the folder that this one is a copy of.
    """
    jobs = read_lines(run_folder.jobs, Job, "the list of submitted jobs")
    here = run_folder.path
    return {job.cell: job.handle for job in jobs if not is_copy(job.folder, here)}
