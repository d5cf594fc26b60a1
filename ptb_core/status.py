"""How a run stands, read from its folder alone; needs no plugin and no supervisor."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.claims import HELD, is_alive, latest_claim
from ptb_core.errors import PtbError, RecordError, printable
from ptb_core.journal import read_events
from ptb_core.record_store import read_record
from ptb_core.records import Record
from ptb_core.redo_request import read_redo
from ptb_core.run_folder import CellFolder, RunFolder
from ptb_core.specs import CellSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStatus:
    """How one cell stands.

    Attributes:
        cell: The cell.
        stage: Stage it is in, ``waiting`` before the first, ``done`` after the last, ``failed``
            when a stage failed for good, ``unknown`` when its files cannot be read.
        attempt: Attempt of that stage, 0 outside a stage.
        is_alive: True while a supervisor works on it.
        deadline_unix_s: The agent's deadline, while it works.
        progress: Answers so far and in all, while generating.
        record: The record, when there is one that can be read.
        problem: What is wrong, in one sentence.
        redo: Stages that are to be done again, in words; empty when none are.
        waits: What its supervisor waits for, in words; empty when for nothing.
    """

    cell: CellSpec
    stage: str
    attempt: int
    is_alive: bool
    deadline_unix_s: float | None = None
    progress: tuple[int, int] | None = None
    record: Record | None = None
    problem: str = ""
    redo: str = ""
    waits: str = ""

    @property
    def is_recorded(self) -> bool:
        """True when the cell needs no further work."""
        return self.stage == "done"

    @property
    def is_redoing(self) -> bool:
        """True while finished stages are to be done again; the earlier record still counts."""
        return bool(self.redo)

    @property
    def is_complete(self) -> bool:
        """True when the cell counts with a score."""
        return self.is_recorded and self.record is not None and self.record.counts != "missing"


def cell_status(run_folder: RunFolder, cell: CellSpec) -> CellStatus:
    """Return how a cell stands now.

    A cell that has ended is looked at first, and nothing else of it is read: most cells of a long
    run have. A supervisor may end while this reads, so the claim is read before looking again.
    Damaged files are named; they hide neither the rest of the cell nor other cells.
    """
    try:
        return _status(run_folder, cell)
    except (PtbError, OSError) as error:
        problem = str(error) if isinstance(error, PtbError) else _os_words(error)
        return CellStatus(cell=cell, stage="unknown", attempt=0, is_alive=False, problem=problem)


def _status(run_folder: RunFolder, cell: CellSpec) -> CellStatus:
    folder = run_folder.cell(cell.id)
    if not folder.path.exists():
        return CellStatus(cell=cell, stage="waiting", attempt=0, is_alive=False)
    ended = _ended(folder, cell)
    if ended is not None:
        return ended
    claim = latest_claim(folder.claims)
    alive = claim is not None and is_alive(folder.claims, claim)
    ended = _ended(folder, cell)
    if ended is not None:
        return ended
    redo, problem = _redo(folder)
    record, unreadable = _record(folder)
    problem = problem or unreadable
    stage, attempt = _last_stage(folder)
    if record is not None and not alive and not redo:
        stage = "failed"
    if redo and not alive:
        stage, attempt = "waiting", 0
    return CellStatus(
        cell=cell,
        stage=stage,
        attempt=attempt,
        is_alive=alive,
        deadline_unix_s=_deadline(folder, attempt) if stage == "solve" else None,
        progress=_progress(folder) if stage == "generate" else None,
        record=record,
        problem=problem or (record.reason if record is not None else _last_words(folder, alive)),
        redo=redo,
        waits=_waits(folder) if alive else "",
    )


def describe_status(status: CellStatus, now_unix_s: float | None = None) -> str:
    """Return where a cell stands in a few words: stage, time left or progress, last score."""
    return printable(_description(status, time.time() if now_unix_s is None else now_unix_s))


def _description(status: CellStatus, now: float) -> str:
    if status.is_recorded:
        return _outcome(status)
    words = status.stage if status.attempt < 2 else f"{status.stage} (attempt {status.attempt})"
    if status.deadline_unix_s is not None and status.is_alive:
        words += f", {_clock(status.deadline_unix_s - now)} left"
    if status.progress is not None:
        words += f" {status.progress[0]}/{status.progress[1]}"
    if status.stage == "unknown":
        return f"unknown: {status.problem}"
    if status.waits:
        words += f", {status.waits}"
    if status.stage == "failed":
        return f"failed: {status.problem}"
    if status.is_redoing and not status.is_alive:
        return f"to be done again: {status.redo} (`ptb run` does it)"
    if status.stage != "waiting" and not status.is_alive:
        said = status.problem.removeprefix(f"{status.cell.id} ")
        hint = "" if "`ptb run`" in said else " (`ptb run` continues it)"
        words += f", no supervisor{': ' if said else ''}{said}{hint}"
    return words


def _outcome(status: CellStatus) -> str:
    record = status.record
    if record is None:
        return f"done, but {status.problem}"
    if record.counts == "missing":
        return f"missing: {record.reason}"
    if record.counts == "base":
        return f"counts as base: {record.reason}"
    score = record.own_score
    return f"score {100 * score.value:.1f}" if score else "done"


def _os_words(error: OSError) -> str:
    return f"{error.filename} cannot be read ({error.strerror})"


def _clock(seconds: float) -> str:
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def _ended(folder: CellFolder, cell: CellSpec) -> CellStatus | None:
    """Return how a cell stands that needs no further work, or None.

    What a supervisor leaves last is read first: the wish to do it again goes after the marker, and
    the marker is written after the record. A marker whose record was moved away does not count.
    """
    redo, problem = _redo(folder)
    if redo or not folder.marker("record").exists():
        return None
    record, unreadable = _record(folder)
    problem = problem or unreadable
    if record is None and not problem:
        return None
    return CellStatus(
        cell=cell, stage="done", attempt=0, is_alive=False, record=record, problem=problem
    )


def _record(folder: CellFolder) -> tuple[Record | None, str]:
    if not folder.record.exists() and not folder.record.is_symlink():
        return None, ""
    try:
        return read_record(folder.record), ""
    except RecordError as error:
        return None, str(error)


def _redo(folder: CellFolder) -> tuple[str, str]:
    try:
        wish = read_redo(folder)
    except RecordError as error:
        return "", str(error)
    return (", ".join(wish.stages), "") if wish is not None else ("", "")


def _last_words(folder: CellFolder, alive: bool) -> str:
    """What a supervisor that is gone said last; its log holds its own errors only."""
    if alive:
        return ""
    try:
        lines = folder.log.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    said = [line for line in lines if line.startswith("ptb: ") and HELD not in line]
    if said:
        return said[-1].removeprefix("ptb: ")
    failed = [event.text for event in read_events(folder.journal) if event.event == "failed"]
    return failed[-1] if failed else ""


def _last_stage(folder: CellFolder) -> tuple[str, int]:
    for event in reversed(read_events(folder.journal)):
        if event.stage:
            return event.stage, event.attempt
    return "waiting", 0


def _waits(folder: CellFolder) -> str:
    """The last word of a supervisor that waits; see :mod:`ptb_core.disk.waiting`."""
    last = read_events(folder.journal)[-1:]
    return last[0].text if last and last[0].data.get("waiting_for_disk") is True else ""


def _deadline(folder: CellFolder, attempt: int) -> float | None:
    live = _json(folder.attempt("solve", attempt) / "live.json")
    deadline = live.get("deadline_unix_s")
    return float(deadline) if isinstance(deadline, (int, float)) else None


def _progress(folder: CellFolder) -> tuple[int, int] | None:
    progress = _json(folder.stage("generate") / "progress.json")
    done, total = progress.get("done"), progress.get("total")
    return (done, total) if isinstance(done, int) and isinstance(total, int) else None


def _json(path: Path) -> dict[str, object]:
    try:
        value = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
