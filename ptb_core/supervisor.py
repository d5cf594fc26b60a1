"""The supervisor of one cell: a foreground command that takes the cell through its stages.

``prepare -> solve -> seal -> generate -> score -> judge -> record``; a base cell has no solve,
seal and judge. Each stage leaves a durable marker, so that a killed supervisor's successor starts
where it stood. Attempts are numbered and kept, never deleted. Finished stages are done again when
``redo.json`` asks for it (:mod:`ptb_core.redo_request`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.claims import HELD, HeldClaim, take_claim
from ptb_core.disk.faults import disk_fault, naming_disk_faults
from ptb_core.errors import (
    ClaimLostError,
    PtbError,
    RecordError,
    SandboxElsewhereError,
    UsageError,
)
from ptb_core.journal import EventName, append_event, last_events, read_events
from ptb_core.redo_request import abandon_redo, finish_redo, read_redo
from ptb_core.retention.apply import retain_after_record
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import CellSpec
from ptb_core.stages.context import CellStoppedError, StageContext, write_marker
from ptb_core.stages.generate import generate
from ptb_core.stages.judge import judge
from ptb_core.stages.markers import read_marker_head
from ptb_core.stages.prepare import prepare
from ptb_core.stages.record import record, record_failure
from ptb_core.stages.score import score
from ptb_core.stages.seal import seal
from ptb_core.stages.solve import find_live, solve


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: its name, its function, and how many attempts may fail before the cell does."""

    name: str
    run: Callable[[StageContext], object]
    attempts: int = 1


STAGES = (
    Stage(name="prepare", run=prepare, attempts=2),
    Stage(name="solve", run=solve, attempts=2),
    Stage(name="seal", run=seal, attempts=2),
    Stage(name="generate", run=generate, attempts=3),
    Stage(name="score", run=score, attempts=2),
    Stage(name="judge", run=judge, attempts=2),
    Stage(name="record", run=record, attempts=2),
)
BASE_STAGES = ("prepare", "generate", "score", "record")


class StageFailedError(PtbError):
    """A stage failed as often as it may."""


def stages_of(cell: CellSpec) -> tuple[Stage, ...]:
    """Return the stages of a cell in order."""
    if cell.kind == "base":
        return tuple(stage for stage in STAGES if stage.name in BASE_STAGES)
    return STAGES


def supervise(run_folder: RunFolder, cell_id: str) -> None:
    """Take one cell to its end; the body of the hidden command ``ptb cell``.

    Raises:
        UsageError: If another living supervisor holds the cell.
        StageFailedError: If a stage failed for good; the record then says ``missing``.
        CellStoppedError: If SIGTERM or SIGINT asked this supervisor to stop.
        ClaimLostError: If another supervisor took the cell over.
        DiskFaultError: If the disk is full, read-only or failing; the cell stays unfinished.
        RecordError: If a file of the run folder is damaged; the cell stays unfinished.
        SandboxElsewhereError: If the agent works where this host cannot reach it.
    """
    with naming_disk_faults(cell_id, run_folder.path):
        _supervise(run_folder, cell_id)


def _supervise(run_folder: RunFolder, cell_id: str) -> None:
    run = run_folder.open()
    cell = run.cell(cell_id)
    folder = run_folder.cell(cell_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    held = take_claim(folder.claims)
    if held is None:
        raise UsageError(f"{cell_id} {HELD}")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        folder.sweep()
        append_event(folder.journal, "claimed", held.claim.number, text=held.claim.host)
        CellRun(run_folder, run, cell, load_catalogue(), held, stopping).to_the_end()
    finally:
        held.release()


class CellRun:
    """One supervisor's work on one cell."""

    def __init__(
        self,
        run_folder: RunFolder,
        run: Run,
        cell: CellSpec,
        catalogue: Catalogue,
        held: HeldClaim,
        stopping: threading.Event,
    ) -> None:
        self._run_folder = run_folder
        self._run = run
        self._cell = cell
        self._folder = run_folder.cell(cell.id)
        self._catalogue = catalogue
        self._held = held
        self._stopping = stopping
        self._redo = read_redo(self._folder)

    def to_the_end(self) -> None:
        """Run every stage that is not done yet, or is to be done again."""
        for stage in stages_of(self._cell):
            if not self._is_done(stage):
                self._until_done(stage)
        if self._redo is not None:
            self._held.check()
            finish_redo(self._folder)
        fence = self._held.claim.number
        retain_after_record(self._run_folder, self._run, self._catalogue, self._cell, fence)

    def _is_done(self, stage: Stage) -> bool:
        """A record that was moved away is written again."""
        if stage.name == "record" and not self._folder.record.exists():
            return False
        if self._redo is not None and not self._redo.is_done_anew(self._folder, stage.name):
            return False
        return read_marker_head(self._folder.marker(stage.name)) is not None

    def _until_done(self, stage: Stage) -> None:
        failures = 0
        while True:
            context = self._begin(stage)
            context.raise_if_stopping()
            try:
                result = stage.run(context)
            except (CellStoppedError, RecordError) as error:
                if disk_fault(error) is None:
                    self._event("abandoned", context, stage, str(error))
                raise
            except (ClaimLostError, SandboxElsewhereError) as error:
                # A successor, or a supervisor on the sandbox's host, goes on with this attempt.
                self._event("note", context, stage, str(error))
                raise
            except Exception as error:
                if disk_fault(error) is not None:
                    raise  # no fault of the stage, and its agent may still be at work
                context.check_claim()  # what fails after a take-over is no failure of the cell
                failures += 1
                self._event("failed", context, stage, describe(error))
                if failures >= stage.attempts:
                    self._give_up(context, stage, error)
                continue
            self._finish(stage, context, result)
            return

    def _begin(self, stage: Stage) -> StageContext:
        number = self._attempt_number(stage)
        attempt_dir = self._folder.attempt(stage.name, number)
        attempt_dir.mkdir(parents=True, exist_ok=True)
        context = StageContext(
            run=self._run,
            run_folder=self._run_folder,
            folder=self._folder,
            cell=self._cell,
            catalogue=self._catalogue,
            fence=self._held.claim.number,
            attempt=number,
            attempt_dir=attempt_dir,
            check_claim=self._held.check,
            stopping=self._stopping,
            redo=self._redo,
        )
        self._held.check()
        self._event("started", context, stage, "")
        return context

    def _attempt_number(self, stage: Stage) -> int:
        """A dead supervisor's attempt is continued when its agent can still be found."""
        begun = self._folder.attempts(stage.name)
        if not begun:
            return 1
        last = begun[-1]
        if find_live(self._folder.attempt(stage.name, last)) and not self._ended(stage, last):
            return last
        return last + 1

    def _ended(self, stage: Stage, number: int) -> bool:
        last = last_events(read_events(self._folder.journal)).get((stage.name, number))
        return last is not None and last.event in ("failed", "abandoned")

    def _finish(self, stage: Stage, context: StageContext, result: object) -> None:
        self._held.check()
        write_marker(context, stage.name, result)
        self._event("done", context, stage, "")

    def _give_up(self, context: StageContext, stage: Stage, error: Exception) -> None:
        reason = f"stage {stage.name} failed: {describe(error)}"
        self._held.check()
        if self._redo is not None:
            abandon_redo(self._folder, self._redo)
            reason += "; what was there before still counts"
        else:
            record_failure(context, reason)
        raise StageFailedError(f"{self._cell.id}: {reason}") from error

    def _event(self, event: str, context: StageContext, stage: Stage, text: str) -> None:
        append_event(
            self._folder.journal,
            msgspec.convert(event, EventName),
            context.fence,
            stage=stage.name,
            attempt=context.attempt,
            text=text,
        )


def describe(error: Exception) -> str:
    """Return an error in one line: its message, with its type when it is not one of ours."""
    if isinstance(error, PtbError):
        return str(error)
    return f"{type(error).__name__}: {error}"
