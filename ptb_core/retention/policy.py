"""Which cells' checkpoints go: the one rule behind the plan's ``retention`` and ``ptb gc``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ptb_core.plan.model import CheckpointRule
from ptb_core.specs import CellSpec
from ptb_core.status import CellStatus

HigherIsBetter = Callable[[str], bool | None]
"""Says for the name of a task which scores are better, or None when nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a cell's checkpoint.

    Attributes:
        goes: True when the rule lets it go.
        why: In a few words.
        keeper: The cell whose better checkpoint stays instead, under ``best``.
    """

    goes: bool
    why: str
    keeper: str = ""


def siblings(cells: Sequence[CellSpec], cell: CellSpec) -> tuple[CellSpec, ...]:
    """Return the repeats that a cell is one of, itself included."""
    return tuple(other for other in cells if _group(other) == _group(cell))


def fates(
    statuses: Sequence[CellStatus], rule: CheckpointRule, higher_is_better: HigherIsBetter
) -> dict[str, Fate]:
    """Decide on the checkpoints of some cells; all repeats of a cell must be among them.

    Args:
        statuses: How the cells stand; base cells have no checkpoint and are left out.
        rule: The rule.
        higher_is_better: Direction of a task's score.

    Returns:
        The fate of each agent cell's checkpoint by the cell's id.
    """
    agents = [status for status in statuses if status.cell.kind == "agent"]
    found = {status.cell.id: _fate(status, rule) for status in agents}
    if rule == "best":
        groups: dict[tuple[str, ...], list[CellStatus]] = {}
        for status in agents:
            if found[status.cell.id].goes:
                groups.setdefault(_group(status.cell), []).append(status)
        for group in groups.values():
            found |= _best_stays(group, higher_is_better(group[0].cell.task))
    return found


def _fate(status: CellStatus, rule: CheckpointRule) -> Fate:
    """Decide without a look at the other repeats."""
    record = status.record
    if rule == "all":
        return Fate(goes=False, why="every checkpoint stays")
    if status.is_alive:
        return Fate(goes=False, why="its supervisor is at work")
    if not status.is_recorded:
        return Fate(goes=False, why=f"it is not recorded yet ({status.stage})")
    if record is None:
        return Fate(goes=False, why=f"its record cannot be read: {status.problem}")
    if status.problem:
        return Fate(goes=False, why=f"something of it cannot be read: {status.problem}")
    if rule == "none":
        return Fate(goes=True, why="it is recorded")
    if record.counts == "missing":
        return Fate(goes=False, why=f"it counts as missing and may be resolved: {record.reason}")
    if record.counts == "base":
        return Fate(goes=False, why=f"it counts as base, this is the evidence: {record.reason}")
    return Fate(goes=True, why="it counts with its own score")


def _best_stays(group: Sequence[CellStatus], higher: bool | None) -> dict[str, Fate]:
    """Choose among the repeats that count with their own score; the earlier of two equals."""
    if higher is None:
        unknown = "which score is better is unknown while its task is not installed"
        return {status.cell.id: Fate(goes=False, why=unknown) for status in group}
    best = max(group, key=lambda s: (_value(s) * (1 if higher else -1), -s.cell.repeat))
    stays = Fate(goes=False, why="the best of its repeats")
    goes = Fate(goes=True, why=f"{best.cell.id} is better", keeper=best.cell.id)
    return {s.cell.id: stays if s is best else goes for s in group}


def _value(status: CellStatus) -> float:
    score = status.record.own_score if status.record else None
    assert score is not None, "a cell that counts with its own score has one"
    return score.value


def _group(cell: CellSpec) -> tuple[str, ...]:
    return (cell.agent.name if cell.agent else "", cell.task, cell.model)
