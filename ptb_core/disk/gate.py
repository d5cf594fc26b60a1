"""While a run is driven: no new cell is started for which there is no room."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ptb_core.disk.needs import live_need
from ptb_core.disk.space import NOTHING, Need, space_at
from ptb_core.errors import PtbError
from ptb_core.plan.model import Plan
from ptb_core.run_folder import RunFolder
from ptb_core.specs import CellSpec
from ptb_core.status import CellStatus

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue

BEFORE_SEALED = ("waiting", "prepare", "solve", "seal")
"""Stages in which a cell may not have taken yet all that it will."""


class DiskGate:
    """Lets cells start while there is room for one more beside those that run.

    Args:
        run_folder: The run's folder.
        plan: The plan.
        catalogue: Components: how large each model is.
        say: Told once when starting stops, and once when it goes on.
    """

    def __init__(
        self, run_folder: RunFolder, plan: Plan, catalogue: Catalogue, say: Callable[[str], None]
    ) -> None:
        self._run_folder = run_folder
        self._plan = plan
        self._catalogue = catalogue
        self._say = say
        self._is_shut = False
        self._promised: dict[str, Need] = {}

    def look(self, busy: Iterable[CellStatus]) -> None:
        """Take note of the cells that run; call it before the first :meth:`admits` of a round."""
        self._promised = {
            status.cell.id: self._need(status.cell)
            for status in busy
            if status.stage in BEFORE_SEALED
        }

    def admits(self, cell: CellSpec) -> bool:
        """Return True when a cell may start, which is then taken to run."""
        need = self._need(cell)
        short = self._shortage(sum(self._promised.values(), need))
        if short and not self._is_shut:
            self._say(f"no new cell is started for want of disk space: {cell.id} {short}")
        if self._is_shut and not short:
            self._say("there is disk space again: cells are started")
        self._is_shut = bool(short)
        if not short:
            self._promised[cell.id] = need
        return not short

    def _need(self, cell: CellSpec) -> Need:
        try:
            return live_need(self._plan, cell, self._catalogue.model(cell.model))
        except PtbError:
            return NOTHING

    def _shortage(self, need: Need) -> str:
        try:
            return need.shortage(space_at(self._run_folder.path))
        except OSError:
            return ""
