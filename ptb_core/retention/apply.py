"""The rule in force in a run, and its application after each record."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ptb_core.atomic import write_json
from ptb_core.catalogue import Catalogue
from ptb_core.errors import PtbError, RecordError
from ptb_core.journal import append_event
from ptb_core.plan.model import Retention
from ptb_core.retention.collect import CellFindings, Collector, is_held
from ptb_core.retention.policy import siblings
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import CellSpec


def retention_in_force(run_folder: RunFolder, run: Run) -> Retention:
    """Return what the last ``ptb run`` on a run folder said is to stay.

    Raises:
        RecordError: If its file is damaged.
    """
    path = run_folder.retention
    try:
        return msgspec.json.decode(path.read_bytes(), type=Retention)
    except FileNotFoundError:
        return run.plan.retention
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{path} is damaged ({error}), so nothing is removed; delete it and run "
            "`ptb run` on the run folder again"
        ) from error


def set_retention(run_folder: RunFolder, run: Run, retention: Retention) -> None:
    """Put a rule in force; what is removed already does not come back.

    Raises:
        OSError: If it cannot be written.
    """
    if retention != run.plan.retention or run_folder.retention.exists():
        write_json(run_folder.retention, retention)


def retain_after_record(
    run_folder: RunFolder, run: Run, catalogue: Catalogue, cell: CellSpec, fence: int
) -> None:
    """Apply the rule to a cell that was just recorded, and to its repeats under ``best``.

    The caller holds the cell's claim. Whatever goes wrong is noted in the cell's journal and
    changes nothing about the cell: its record stands.
    """
    try:
        problems = [
            f"{findings.cell.id}: {findings.problem}"
            for findings in _after_record(run_folder, run, catalogue, cell)
            if findings.problem
        ]
    except (PtbError, OSError) as error:
        problems = [str(error)]
    for problem in problems:
        text = f"retention: {problem}"
        append_event(run_folder.cell(cell.id).journal, "note", fence, text=text)


def retain_run(run_folder: RunFolder, run: Run, catalogue: Catalogue) -> tuple[str, ...]:
    """Apply the rule to every cell of a run; return what could not be removed, and why.

    Supervisors have removed nearly all by then; left is what one of them had to leave to another.
    """
    try:
        collector = _collector(run_folder, run, catalogue, retention_in_force(run_folder, run))
        due = [each.cell for each in collector.survey() if each.is_due]
        cleaned = [collector.clean(cell) for cell in due]
    except (PtbError, OSError) as error:
        return (str(error),)
    return tuple(f"{each.cell.id}: {each.problem}" for each in cleaned if each.problem)


def _after_record(
    run_folder: RunFolder, run: Run, catalogue: Catalogue, cell: CellSpec
) -> Iterator[CellFindings]:
    retention = retention_in_force(run_folder, run)
    collector = _collector(run_folder, run, catalogue, retention)
    if cell.kind == "base":
        return
    yield collector.clean(cell, held=(cell.id,))
    if retention.checkpoints == "best":
        for other in siblings(run.cells, cell):
            folder = run_folder.cell(other.id)
            if other.id != cell.id and folder.record.exists() and not is_held(folder):
                yield collector.clean(other, held=(cell.id,))


def _collector(
    run_folder: RunFolder, run: Run, catalogue: Catalogue, retention: Retention
) -> Collector:
    return Collector(
        run_folder, run, catalogue, retention, by="the plan's retention", with_leftovers=False
    )
