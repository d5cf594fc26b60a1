"""``ptb gc``: what may go in whole runs, shown first, then removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ptb_core.catalogue import load_catalogue
from ptb_core.plan.model import Retention
from ptb_core.retention.apply import retention_in_force
from ptb_core.retention.collect import CellFindings, Collector, total
from ptb_core.retention.evidence_folders import dead_evidence_folders, remove_evidence_folder
from ptb_core.retention.usage import Usage
from ptb_core.run_folder import RunFolder
from ptb_core.sizes import in_words
from ptb_core.specs import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFindings:
    """What may go in one run.

    Attributes:
        path: The run folder.
        retention: The rule that was applied.
        cells: What may go in each cell that was begun.
        folders: Folders of links that dead judges left among the temporary files.
        problems: What could not be removed, and why.
    """

    path: Path
    retention: Retention
    cells: tuple[CellFindings, ...]
    folders: tuple[Path, ...]
    problems: tuple[str, ...] = ()

    @property
    def is_something(self) -> bool:
        """True when anything may go."""
        return bool(self.folders) or any(cell.is_due for cell in self.cells)

    @property
    def usage(self) -> Usage:
        """Room that all of it frees."""
        return total(self.cells)


class RunCollector:
    """Shows and removes what may go in one run.

    Args:
        path: The run folder.
        checkpoints: Rule for checkpoints; None means what is in force in the run.
        workspaces: Rule for workspaces; None likewise.

    Raises:
        UsageError: If it is no run folder.
        RecordError: If its head or its rule is damaged.
    """

    def __init__(self, path: Path, checkpoints: str | None, workspaces: str | None) -> None:
        self._run_folder = RunFolder(path)
        run = self._run_folder.open()
        given = {"checkpoints": checkpoints, "workspaces": workspaces}
        changes = {name: value for name, value in given.items() if value is not None}
        in_force = msgspec.to_builtins(retention_in_force(self._run_folder, run))
        self._retention = msgspec.convert({**in_force, **changes}, Retention)
        self._collector = Collector(
            self._run_folder,
            run,
            load_catalogue(),
            self._retention,
            by="ptb gc",
            with_leftovers=True,
        )

    def survey(self) -> RunFindings:
        """Return what may go; nothing is changed."""
        return RunFindings(
            path=self._run_folder.path,
            retention=self._retention,
            cells=tuple(self._collector.survey()),
            folders=tuple(dead_evidence_folders(self._run_folder)),
        )

    def clean(self, found: RunFindings) -> RunFindings:
        """Remove what was found and may still go; return what was removed."""
        cells = tuple(self._collector.clean(each.cell) for each in found.cells if each.is_due)
        problems = [f"{each.cell.id}: {each.problem}" for each in cells if each.problem]
        folders = []
        for folder in found.folders:
            try:
                remove_evidence_folder(folder)
                folders.append(folder)
            except OSError as error:
                problems.append(f"{folder} could not be removed ({error.strerror})")
        return replace(found, cells=cells, folders=tuple(folders), problems=tuple(problems))


def describe(found: Sequence[RunFindings], *, is_agreed: bool) -> Iterator[str]:
    """Yield what `ptb gc` shows before it removes anything, if removal is agreed at all."""
    for run in found:
        rule = run.retention
        yield f"{run.path}: checkpoints {rule.checkpoints}, workspaces {rule.workspaces}"
        for cell in run.cells:
            yield from _cell_lines(cell)
        for folder in run.folders:
            yield f"  {folder}: links into this run that a dead supervisor left"
    if any(run.is_something for run in found):
        room = sum((run.usage for run in found), Usage())
        words = f"{in_words(room.bytes)} and {room.inodes} inodes"
        hint = "" if is_agreed else "; nothing is removed yet: `--yes` removes it"
        checkpoints = sum(
            any(each.item.what == "checkpoint" for each in cell.found)
            for run in found
            for cell in run.cells
        )
        if checkpoints:
            cells = "1 cell" if checkpoints == 1 else f"{checkpoints} cells"
            yield f"{cells} can then be neither rejudged nor reevaluated, only scored again"
        yield f"would free {words}{hint}"
    else:
        yield "nothing to remove"


def _cell_lines(findings: CellFindings) -> Iterator[str]:
    if findings.problem:
        yield f"  {findings.cell.id}: {findings.problem}"
        return
    stays = f"; its checkpoint stays: {findings.stays}" if findings.stays else ""
    if findings.found:
        yield f"  {findings.cell.id}: frees {in_words(findings.usage.bytes)}{stays}"
    elif stays:
        yield f"  {findings.cell.id}: nothing to remove{stays}"
    if findings.has_trash:
        yield f"  {findings.cell.id}: a removal that was cut off will be finished"
    for each in findings.found:
        size, item = in_words(each.usage.bytes), each.item
        inside = item.path.parts[item.path.parts.index(findings.cell.id) + 1 :]
        yield f"    {item.what:<10} {size:>9}  {'/'.join(inside)}: {item.why}"


def summary(done: Sequence[RunFindings]) -> Iterator[str]:
    """Yield what `ptb gc` says after it removed things."""
    for run in done:
        yield from run.problems
    room = sum((run.usage for run in done), Usage())
    yield f"freed {in_words(room.bytes)} and {room.inodes} inodes"


def as_data(found: Sequence[RunFindings], *, removed: bool) -> JsonValue:
    """Return the findings for machines."""
    return {
        "removed": removed,
        "freed_bytes": sum(run.usage.bytes for run in found),
        "runs": [
            {
                "run": str(run.path),
                "retention": msgspec.to_builtins(run.retention),
                "cells": [_cell_data(cell) for cell in run.cells],
                "folders": [str(folder) for folder in run.folders],
                "problems": list(run.problems),
            }
            for run in found
        ],
    }


def _cell_data(findings: CellFindings) -> JsonValue:
    return {
        "cell": findings.cell.id,
        "freed_bytes": findings.usage.bytes,
        "stays": findings.stays,
        "problem": findings.problem,
        "items": [
            {
                "what": each.item.what,
                "path": str(each.item.path),
                "why": each.item.why,
                "bytes": each.usage.bytes,
                "inodes": each.usage.inodes,
            }
            for each in findings.found
        ],
    }
