"""Reading a run folder: its plan, and the record of every cell that has one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from ptb_core.errors import RecordError, UsageError, printable
from ptb_core.record_store import parse_record, record_faults
from ptb_core.records import Record
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import CellSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResults:
    """What a run folder holds.

    Attributes:
        path: As the user named it.
        run: The run's head, with the plan and all expected cells.
        records: Records by cell id.
        damaged: By cell id, why its record cannot be used.
        notes: What was left out.
    """

    path: str
    run: Run
    records: Mapping[str, Record]
    damaged: Mapping[str, str]
    notes: tuple[str, ...] = ()


def read_run(path: Path, *, check: bool = False) -> RunResults:
    """Read a run folder. A damaged record makes its cell missing, with the reason; no more.

    Args:
        path: The run folder.
        check: Hold every record against the full schema too (about 1 ms each).

    Raises:
        UsageError: If this is no run folder.
        RecordError: If the run's head is damaged or of an unknown version.
    """
    folder = RunFolder(path)
    run = folder.open()
    records: dict[str, Record] = {}
    damaged: dict[str, str] = {}
    cells = folder.path / "cells"
    for cell in run.cells:
        file = f"{cells}/{cell.id}/record.json"
        try:
            record = _read(file, check)
            if record is not None:
                _require_same_cell(record, cell, run, file)
                records[cell.id] = record
        except RecordError as error:
            damaged[cell.id] = printable(str(error))
    return RunResults(
        path=str(path), run=run, records=records, damaged=damaged, notes=_strays(cells, run)
    )


def require_distinct(runs: Sequence[RunResults]) -> None:
    """Refuse runs that share a cell's result, which would count it twice.

    Raises:
        UsageError: If two folders are of one run, or hold the same record.
    """
    owners: dict[str, RunResults] = {}
    seen: dict[tuple[str, float], RunResults] = {}
    for run in runs:
        first = owners.setdefault(run.run.run_id, run)
        if first is not run:
            raise UsageError(
                f"{first.path} and {run.path} are the same run ({run.run.run_id}), so each of its "
                f"cells would count twice (the first is {run.run.cells[0].id}); name it once"
            )
        for cell_id, record in run.records.items():
            other = seen.setdefault((cell_id, record.created_unix_s), run)
            if other is not run:
                raise UsageError(
                    f"{other.path} and {run.path} hold the same record of cell {cell_id}, which "
                    "would count twice; name only one of them"
                )


def _read(file: str, check: bool) -> Record | None:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - a third of Path.read_bytes' time
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(f"{file}: the record cannot be read ({error.strerror})") from error
    record = parse_record(content, file)
    if check and (faults := record_faults(msgspec.json.decode(content))):
        listed = "; ".join(str(fault) for fault in faults)
        raise RecordError(f"{file}: the record breaks schemas/record.schema.json: {listed}")
    return record


def _require_same_cell(record: Record, expected: CellSpec, run: Run, file: str) -> None:
    found = record.cell
    if _identity(found) != _identity(expected):
        raise RecordError(
            f"{file}: found the record of cell {found.id} ({found.task}, {found.model}); expected "
            f"{expected.id} ({expected.task}, {expected.model}), as run.json says; "
            "put the right file there"
        )
    for field in fields(CellSpec):
        here, there = getattr(found, field.name), getattr(expected, field.name)
        if here != there:
            raise RecordError(
                f"{file}: found another {field.name} in $.cell than run.json says; the record is "
                "damaged or of another run: put the right file there"
            )
    agent_id = run.plan.agent_ids.get(expected.agent.name) if expected.agent else None
    if (record.agent_id, record.condition_id) != (agent_id, run.plan.condition_id):
        raise RecordError(
            f"{file}: found agent id {record.agent_id} and condition id {record.condition_id}; "
            f"expected {agent_id} and {run.plan.condition_id}, as run.json says; the record is "
            "of another run: put the right file there"
        )


def _identity(cell: CellSpec) -> tuple[object, ...]:
    agent = cell.agent.name if cell.agent else None
    return (cell.id, cell.kind, cell.task, cell.model, agent, cell.repeat, cell.base_cell)


def _strays(cells: Path, run: Run) -> tuple[str, ...]:
    if not cells.is_dir():
        return ()
    expected = {cell.id for cell in run.cells}
    names = sorted(name for name in os.listdir(cells) if name not in expected)  # noqa: PTH208
    return tuple(
        f"{cells / name}/record.json is left out: run.json lists no cell {name}"
        for name in names
        if (cells / name / "record.json").exists()
    )
