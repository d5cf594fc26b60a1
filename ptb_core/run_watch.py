"""How the cells of a run stand, looked at once a second without reading everything again.

What a look costs depends on the cells that are at work, not on the size of the run: a cell that
was found recorded is never read again, one without a folder costs nothing, and one that nobody
works on is read again only when its folder changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

from ptb_core.records import Record
from ptb_core.run_folder import CellFolder, RunFolder
from ptb_core.specs import CellSpec
from ptb_core.status import CellStatus, cell_status

Stamp: TypeAlias = tuple[int, int]
"""Modification times of a cell's folder and of its ``claims/``: whoever begins, ends or is asked
to do something again makes or renames a file in one of them."""


SETTLED_S = 0.5
"""File systems count time in ticks of some milliseconds, and what changes twice within one bears
the same time: a cell is read once more when its stamp has been the same for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idle:
    """A cell that nobody worked on.

    Attributes:
        status: How it stood when it was read last.
        stamp: Its stamp before that.
        first_s: When this stamp was first seen, monotonic.
        is_settled: True when it was read long enough after that.
    """

    status: CellStatus
    stamp: Stamp
    first_s: float
    is_settled: bool


class RunWatch:
    """Looks at the same cells again and again."""

    def __init__(self, run_folder: RunFolder, cells: Sequence[CellSpec]) -> None:
        self._run_folder = run_folder
        self._cells = cells
        self._recorded: dict[str, CellStatus] = {}
        self._idle: dict[str, _Idle] = {}
        self._placed: Set[str] = frozenset()
        self._waiting = {
            cell.id: CellStatus(cell=cell, stage="waiting", attempt=0, is_alive=False)
            for cell in cells
        }

    def look(self, placed: Set[str] = frozenset()) -> tuple[CellStatus, ...]:
        """Return how every cell stands; recorded ones without evidence, lock and story.

        Args:
            placed: Ids of the cells whose job is queued or runs; these are always read, and once
                more after their job has ended.
        """
        begun = self._begun()
        for cell_id in placed | self._placed:
            self._idle.pop(cell_id, None)
        self._placed = frozenset(placed)
        return tuple(self._status(cell, cell.id in begun) for cell in self._cells)

    def _begun(self) -> frozenset[str]:
        """Return the ids of the cells that have a folder."""
        try:
            return frozenset(os.listdir(self._run_folder.path / "cells"))  # noqa: PTH208
        except FileNotFoundError:
            return frozenset()

    def _status(self, cell: CellSpec, is_begun: bool) -> CellStatus:
        recorded = self._recorded.get(cell.id)
        if recorded is not None:
            return recorded
        if not is_begun:
            return self._waiting[cell.id]
        stamp = _stamp(self._run_folder.cell(cell.id))
        idle = self._idle.get(cell.id)
        if idle is None or idle.stamp != stamp:
            return self._read(cell, stamp, time.monotonic())
        return idle.status if idle.is_settled else self._read(cell, stamp, idle.first_s)

    def _read(self, cell: CellSpec, stamp: Stamp, first_s: float) -> CellStatus:
        is_settled = time.monotonic() - first_s >= SETTLED_S
        status = cell_status(self._run_folder, cell)
        if status.is_recorded:
            self._recorded[cell.id] = status = _light(status)
        elif not status.is_alive:
            self._idle[cell.id] = _Idle(
                status=status, stamp=stamp, first_s=first_s, is_settled=is_settled
            )
        return status


def _stamp(folder: CellFolder) -> Stamp:
    return _changed_ns(f"{folder.path}"), _changed_ns(f"{folder.claims}")


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - a third of Path.stat's time
    except FileNotFoundError:
        return 0


def _light(status: CellStatus) -> CellStatus:
    """Drop what a driver of thousands of cells should not keep in memory: 20 kB per record."""
    if status.record is None:
        return status
    return replace(status, record=_bare(status.record))


def _bare(record: Record) -> Record:
    evaluation = record.evaluation
    return replace(
        record,
        evaluation=None if evaluation is None else replace(evaluation, details={}),
        verdicts=(),
        attempts=(),
        sandboxes={},
        lock={},
    )
