"""Finding what may go in a run, and removing it cell by cell under each cell's claim."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ptb_core.catalogue import Catalogue
from ptb_core.claims import is_alive, latest_claim, take_claim
from ptb_core.errors import PtbError, RecordError, SandboxLostError
from ptb_core.plan.model import Retention
from ptb_core.retention import places
from ptb_core.retention.places import Item
from ptb_core.retention.policy import Fate, fates, siblings
from ptb_core.retention.removal import empty_trash, remove
from ptb_core.retention.usage import Usage, freed
from ptb_core.run_folder import CellFolder, Run, RunFolder
from ptb_core.specs import CellSpec
from ptb_core.stages.solve import find_live
from ptb_core.status import CellStatus, cell_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that may go, with the room that its removal frees."""

    item: Item
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFindings:
    """What may go in one cell.

    Attributes:
        cell: The cell.
        found: What may go.
        stays: Why its checkpoint stays; empty when it goes or there is none.
        problem: Why nothing is touched, or what could not be removed.
        has_trash: True when an earlier removal was killed before its end.
    """

    cell: CellSpec
    found: tuple[Found, ...] = ()
    stays: str = ""
    problem: str = ""
    has_trash: bool = False

    @property
    def is_due(self) -> bool:
        """True when there is anything to remove."""
        return bool(self.found) or self.has_trash

    @property
    def usage(self) -> Usage:
        """Room that all of it frees."""
        return sum((each.usage for each in self.found), Usage())


class Collector:
    """Finds and removes what may go in one run.

    Args:
        run_folder: The run's folder.
        run: Its head.
        catalogue: Components: which scores are better, and which sessions are over.
        retention: The rule.
        by: Who removes, for the notes, such as ``ptb gc``.
        with_leftovers: True to look for what crashes left as well.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        run: Run,
        catalogue: Catalogue,
        retention: Retention,
        *,
        by: str,
        with_leftovers: bool,
    ) -> None:
        self._run_folder = run_folder
        self._run = run
        self._catalogue = catalogue
        self._retention = retention
        self._by = by
        self._with_leftovers = with_leftovers

    def survey(self) -> Iterator[CellFindings]:
        """Yield what may go in each cell of the run that was begun; nothing is changed."""
        statuses = [cell_status(self._run_folder, cell) for cell in self._run.cells]
        decided = fates(statuses, self._retention.checkpoints, self._higher_is_better)
        for status in statuses:
            folder = self._run_folder.cell(status.cell.id)
            if not folder.path.is_dir():
                continue
            if is_held(folder):
                yield _busy(status.cell)
            else:
                yield self._findings(status, decided.get(status.cell.id))

    def clean(self, cell: CellSpec, held: Collection[str] = ()) -> CellFindings:
        """Remove what may go in one cell; a cell that somebody works on is left alone.

        What may go is found anew under the claim, so that nothing is decided on what has
        changed meanwhile.

        Args:
            cell: The cell.
            held: Cells whose claim the caller holds.

        Returns:
            What was removed; ``problem`` says what could not be.
        """
        folder = self._run_folder.cell(cell.id)
        _emptied(folder, CellFindings(cell=cell))  # needs no room, and makes some for the rest
        try:
            return self._clean(folder, cell, held)
        except OSError as error:
            return CellFindings(cell=cell, problem=_cannot_begin(error, folder))

    def _clean(self, folder: CellFolder, cell: CellSpec, held: Collection[str]) -> CellFindings:
        with ExitStack() as claims:
            if not self._claim(cell.id, held, claims):
                return _busy(cell)
            fate = self._fate(cell)
            if fate is not None and fate.keeper:
                if not self._claim(fate.keeper, held, claims):
                    why = f"{fate.keeper}, which would stay instead, is being worked on"
                    return CellFindings(cell=cell, problem=f"left alone: {why}")
                fate = self._fate(cell)
            findings = self._findings(cell_status(self._run_folder, cell), fate)
            findings = self._take_away(folder, findings)
        return _emptied(folder, findings)

    def _take_away(self, folder: CellFolder, findings: CellFindings) -> CellFindings:
        gone: list[Found] = []
        for each in findings.found:
            try:
                if each.item.what == "sandbox":
                    self._refuse_live_session(each.item)
                remove(folder, each.item, self._rule, each.usage.bytes)
            except (OSError, PtbError) as error:
                problem = _words(error, each.item)
                return replace(findings, found=tuple(gone), problem=problem)
            gone.append(each)
        return findings

    def _findings(self, status: CellStatus, fate: Fate | None) -> CellFindings:
        folder = self._run_folder.cell(status.cell.id)
        try:
            items, stays = self._items(folder, status, fate)
        except PtbError as error:
            return CellFindings(cell=status.cell, problem=f"left alone: {error}")
        usages = freed([item.path for item in items])
        return CellFindings(
            cell=status.cell,
            found=tuple(
                Found(item=item, usage=usage) for item, usage in zip(items, usages, strict=True)
            ),
            stays=stays,
            has_trash=folder.trash.is_dir() and any(folder.trash.iterdir()),
        )

    def _items(
        self, folder: CellFolder, status: CellStatus, fate: Fate | None
    ) -> tuple[list[Item], str]:
        """Return what may go, and why the checkpoint stays if it does."""
        items = list(places.leftovers(folder)) if self._with_leftovers else []
        record = status.record
        if fate is None or record is None or status.problem or not status.is_recorded:
            return items, fate.why if fate and places.has_checkpoint(folder) else ""
        if fate.goes and places.cites_submission(folder, record):
            fate = Fate(goes=False, why="a verdict cites it")
        if fate.goes:
            items += places.checkpoints(folder, fate.why)
        elif self._retention.workspaces != "whole":
            items += places.copies(folder)
        if self._retention.workspaces == "without-weights" and record.counts == "own":
            items += places.other_weights(folder, record, "left in the workspace")
        stays = fate.why if not fate.goes and places.has_checkpoint(folder) else ""
        return items, stays

    def _fate(self, cell: CellSpec) -> Fate | None:
        best = self._retention.checkpoints == "best"  # else a cell's fate is its own affair
        group = siblings(self._run.cells, cell) if best else (cell,)
        statuses = [cell_status(self._run_folder, each) for each in group]
        return fates(statuses, self._retention.checkpoints, self._higher_is_better).get(cell.id)

    def _higher_is_better(self, task: str) -> bool | None:
        try:
            return self._catalogue.task_spec(task).higher_is_better
        except PtbError:
            return None

    def _claim(self, cell_id: str, held: Collection[str], claims: ExitStack) -> bool:
        if cell_id in held:
            return True
        claim = take_claim(self._run_folder.cell(cell_id).claims)
        if claim is not None:
            claims.callback(claim.release)
        return claim is not None

    def _refuse_live_session(self, item: Item) -> None:
        """Make sure that nothing lives in a sandbox.

        Raises:
            PtbError: If something does, or nobody can say so from here.
        """
        try:
            live = find_live(item.path.parent)
            if live is None:
                return
            session = self._catalogue.sandbox(live.session.sandbox).attach(live.session)
            state = session.status().state
        except SandboxLostError:
            return
        except RecordError as error:
            raise PtbError(f"{item.path} is left alone: {error}") from error
        if state != "killed":
            raise PtbError(f"{item.path} is left alone: its session is {state}, not ended")

    @property
    def _rule(self) -> str:
        rule = self._retention
        return f"{self._by} (checkpoints {rule.checkpoints}, workspaces {rule.workspaces})"


def is_held(folder: CellFolder) -> bool:
    """Return True while somebody works on a cell."""
    claim = latest_claim(folder.claims)
    return claim is not None and is_alive(folder.claims, claim)


def _busy(cell: CellSpec) -> CellFindings:
    return CellFindings(cell=cell, problem="left alone: it is being worked on")


def _emptied(folder: CellFolder, findings: CellFindings) -> CellFindings:
    try:
        empty_trash(folder)
    except OSError as error:
        problem = findings.problem or (
            f"{error.filename or folder.trash} cannot be deleted ({error.strerror}); mend the "
            "cause and run `ptb gc` again"
        )
        return replace(findings, problem=problem)
    return findings


def _cannot_begin(error: OSError, folder: CellFolder) -> str:
    words = f"left alone: {error.filename or folder.path}: {error.strerror}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return words
    return (
        f"{words}; a removal needs a few KiB for its claim and its note: make room by hand and "
        "run `ptb gc` again"
    )


def _words(error: Exception, item: Item) -> str:
    if isinstance(error, PtbError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{item.path} could not be removed ({reason}) and is whole; run `ptb gc` again"


def total(findings: Sequence[CellFindings]) -> Usage:
    """Return the room that all findings free together."""
    return sum((each.usage for each in findings), Usage())
