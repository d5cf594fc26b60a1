"""``ptb retry``, ``ptb rejudge`` and ``ptb reevaluate``: finished stages of cells, done again.

Results are never the best of several: an agent's work is not repeated, a cell that counts is not
retried, every earlier record is kept and listed in the one that replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.claims import Claim, is_alive, latest_claim, take_claim
from ptb_core.driver import Watcher, drive
from ptb_core.errors import PluginError, PtbError, UsageError
from ptb_core.journal import read_events
from ptb_core.record_store import read_record
from ptb_core.records import Record
from ptb_core.redo_request import RedoKind, write_redo
from ptb_core.retention.notes import refuse_removed_checkpoint
from ptb_core.run_folder import CellFolder, Run, RunFolder
from ptb_core.specs import CellSpec, Kind
from ptb_core.stages.context import Generated, Prepared, Sealed
from ptb_core.stages.markers import read_marker
from ptb_core.status import CellStatus, cell_status

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue

STAGES: Mapping[RedoKind, tuple[str, ...]] = {
    "rejudge": ("judge", "record"),
    "reevaluate": ("generate", "score", "record"),
    "rescore": ("score", "record"),
}
"""Stages that each command repeats; those of ``retry`` depend on why the cell is missing."""

WEIGHTS = {"generate", "judge"}
"""Stages that need the sealed weights."""


class NotRedoableError(PtbError):
    """A cell cannot be done again in the way asked for; the message says why, without its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The cells that will be done again.

    Attributes:
        kind: What was asked for.
        stages: Stages to repeat, by cell; none for a cell that failed and is simply continued.
        left_out: Why each other cell is not among them, by cell.
    """

    kind: RedoKind
    stages: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What doing a cell again has brought.

    Attributes:
        cell: The cell's id.
        before: Its record before, or None when there was none that can be read.
        after: Its record now, or None as before.
        problem: Why it was not done again; empty when it was.
    """

    cell: str
    before: Record | None
    after: Record | None
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """True when it was done again and the cell counts."""
        return not self.problem and self.after is not None and self.after.counts != "missing"


def choose(run_folder: RunFolder, run: Run, kind: RedoKind, wanted: Sequence[str]) -> Chosen:
    """Return which cells will be done again; changes nothing.

    Args:
        run_folder: The run's folder.
        run: Its head.
        kind: What is asked for.
        wanted: Cell ids; none means every cell for which it makes sense.

    Raises:
        UsageError: If a wanted cell does not exist or cannot be done again, or no cell can; a run
            with nothing to retry is no error.
    """
    cells = [run.cell(name) for name in dict.fromkeys(wanted)] if wanted else list(run.cells)
    stages: dict[str, tuple[str, ...]] = {}
    left_out: dict[str, str] = {}
    for cell in cells:
        try:
            stages[cell.id] = _stages(run_folder, cell, kind)
        except PtbError as error:
            left_out[cell.id] = str(error)
    if (wanted and left_out) or not (stages or kind == "retry"):
        reasons = "".join(f"\n  {cell}: {reason}" for cell, reason in left_out.items())
        raise UsageError(f"{_VERBS[kind]} is not possible; nothing was changed:{reasons}")
    return Chosen(kind=kind, stages=stages, left_out=left_out)


def require_components(run: Run, catalogue: Catalogue, chosen: Chosen) -> None:
    """Make sure that all plugins are there that the work needs.

    Raises:
        PluginError: If not; names every one that is missing, nothing is changed.
    """
    missing = [
        reason for kind, name in _needed(run, chosen) if (reason := _lack(catalogue, kind, name))
    ]
    if missing:
        raise PluginError(
            f"{_VERBS[chosen.kind]} needs what is not usable here; nothing was changed:"
            + "".join(f"\n  {reason}" for reason in missing)
        )


def redo(
    run_folder: RunFolder, run: Run, catalogue: Catalogue, chosen: Chosen, watch: Watcher
) -> tuple[Change, ...]:
    """Do the chosen cells again and wait for them.

    Raises:
        UsageError: If a cell has come to life in the meantime; what was asked for by then stays
            asked for.
        RunCancelledError: If ``ptb cancel`` was called on the run.
    """
    before = {cell: _record(run_folder.cell(cell)) for cell in chosen.stages}
    for cell, stages in chosen.stages.items():
        if stages:
            _ask(run_folder.cell(cell), chosen.kind, stages)
    drive(run_folder, run, catalogue, watch, only=frozenset(chosen.stages))
    return tuple(_change(run_folder.cell(cell), before[cell]) for cell in chosen.stages)


_VERBS: Mapping[RedoKind, str] = {
    "retry": "retrying",
    "rejudge": "judging again",
    "reevaluate": "evaluating again",
    "rescore": "scoring again",
}


def _stages(run_folder: RunFolder, cell: CellSpec, kind: RedoKind) -> tuple[str, ...]:
    """Return the stages to repeat of a cell, none for one that is simply continued.

    Raises:
        NotRedoableError: If it cannot be done again.
        RemovedError: If its checkpoint was removed to free the disk.
    """
    folder = run_folder.cell(cell.id)
    claim = latest_claim(folder.claims)
    if claim is not None and is_alive(folder.claims, claim):
        raise NotRedoableError(_busy(claim))
    status = cell_status(run_folder, cell)
    if kind == "retry":
        stages = _stages_of_retry(status)
        if WEIGHTS & set(stages):
            refuse_removed_checkpoint(folder)
        return stages
    if not status.is_recorded and not status.is_redoing:
        raise NotRedoableError(
            f"it is not finished (stage {status.stage}); `ptb run` on the run folder continues it"
        )
    if WEIGHTS & set(STAGES[kind]):
        refuse_removed_checkpoint(folder)
    if kind == "rejudge":
        _require_evidence(cell, folder)
    elif kind == "reevaluate":
        _require_checkpoint(cell, folder)
    else:
        _require_completions(folder)
    return STAGES[kind]


def _stages_of_retry(status: CellStatus) -> tuple[str, ...]:
    if status.stage == "failed" or status.is_redoing:
        return ()
    record = status.record
    if not status.is_recorded:
        raise NotRedoableError(
            f"it is not finished (stage {status.stage}); `ptb run` on the run folder continues it"
        )
    if record is None:
        raise NotRedoableError(status.problem)
    if record.counts != "missing":
        raise NotRedoableError(
            f"it counts with {'its own score' if record.counts == 'own' else 'the base score'}, "
            "and results are never the best of several; `ptb rejudge` and `ptb reevaluate` look "
            "again at the same sealed submission"
        )
    doubtful = record.cell.kind == "agent" and record.verdict != "clean"
    evaluation = record.evaluation
    unmeasured = record.submission == "sealed" and (evaluation is None or not evaluation.complete)
    unloadable = record.submission == "unloadable"
    first = ("generate", "score") if unloadable or (unmeasured and evaluation is None) else ()
    scoring = ("score",) if unmeasured and not first else ()
    return (*first, *scoring, *(("judge",) if doubtful else ()), "record")


def _busy(claim: Claim) -> str:
    return (
        f"a supervisor works on it ({claim.holder}); wait until it has ended, or stop it with "
        "`ptb cancel`"
    )


def _require_evidence(cell: CellSpec, folder: CellFolder) -> None:
    if cell.kind == "base":
        raise NotRedoableError("it measures the base model, and judges look at agents' cells only")
    sealed = read_marker(folder.marker("seal"), Sealed)
    if sealed is None or not sealed.evidence.is_dir():
        raise NotRedoableError(_gone("the evidence", sealed.evidence if sealed else folder.path))


def _require_checkpoint(cell: CellSpec, folder: CellFolder) -> None:
    if cell.kind == "base":
        prepared = read_marker(folder.marker("prepare"), Prepared)
        if prepared is None or not prepared.base_model.is_dir():
            place = prepared.base_model if prepared else folder.path
            raise NotRedoableError(_gone("the base model", place))
        return
    sealed = read_marker(folder.marker("seal"), Sealed)
    if sealed is not None and sealed.path is None:
        raise NotRedoableError(
            f"it has no submission to evaluate ({sealed.state}: {sealed.reason})"
        )
    if sealed is None or sealed.path is None or not sealed.path.is_dir():
        place = sealed.path if sealed and sealed.path else folder.path
        raise NotRedoableError(_gone("the sealed checkpoint", place))


def _require_completions(folder: CellFolder) -> None:
    generated = read_marker(folder.marker("generate"), Generated)
    if generated is not None and generated.completions is None:
        reason = f"{generated.state}: {generated.reason}"
        raise NotRedoableError(f"it has no completions to score ({reason})")
    if generated is None or generated.completions is None or not generated.completions.is_file():
        place = generated.completions if generated and generated.completions else folder.path
        raise NotRedoableError(_gone("its completions", place))


def _gone(what: str, place: Path) -> str:
    return f"{what} is not there any more ({place}); restore it from a copy"


def _needed(run: Run, chosen: Chosen) -> list[tuple[Kind, str]]:
    stages = {stage for of_cell in chosen.stages.values() for stage in of_cell}
    cells = [cell for cell in run.cells if cell.id in chosen.stages]
    whole = not all(chosen.stages.values())  # a failed cell may be anywhere in its life
    needed: list[tuple[Kind, str]] = [("executor", run.plan.executor.name)]
    for cell in cells:
        needed += [("task", cell.task), ("model", cell.model)]
        if whole and cell.agent is not None:
            needed.append(("scaffold", cell.agent.scaffold))
    if whole or "judge" in stages:
        needed += [("judge", judge.name) for judge in run.plan.judges]
    if whole or "generate" in stages:
        needed += [("sandbox", run.plan.sandbox.name), ("engine", run.plan.engine.name)]
    return list(dict.fromkeys(needed))


def _lack(catalogue: Catalogue, kind: Kind, name: str) -> str:
    try:
        catalogue.get(kind, name)
    except PtbError as error:
        return str(error)
    return ""


def _ask(folder: CellFolder, kind: RedoKind, stages: tuple[str, ...]) -> None:
    held = take_claim(folder.claims)
    if held is None:
        holder = latest_claim(folder.claims)
        assert holder is not None
        raise UsageError(f"{folder.path.name}: {_busy(holder)}")
    try:
        write_redo(folder, kind, stages)
    finally:
        held.release()


def _change(folder: CellFolder, before: Record | None) -> Change:
    after = _record(folder)
    problem = ""
    if after is None or (before is not None and after.created_unix_s == before.created_unix_s):
        failed = [event.text for event in read_events(folder.journal) if event.event == "failed"]
        problem = failed[-1] if failed else f"its supervisor said no more; see {folder.log}"
    elif after.counts == "missing":
        problem = after.reason
    return Change(cell=folder.path.name, before=before, after=after, problem=problem)


def _record(folder: CellFolder) -> Record | None:
    try:
        return read_record(folder.record)
    except PtbError:
        return None
