"""From a plan's lists to its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ptb_core.canonical import short_hash
from ptb_core.specs import AgentSpec, CellSpec, Condition, JsonValue, ProtocolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What cells are made from; ``include`` and ``exclude`` are the plan's selectors."""

    tasks: Sequence[str]
    models: Sequence[str]
    agents: Sequence[AgentSpec]
    repeats: int
    include: Sequence[Mapping[str, JsonValue]]
    exclude: Sequence[Mapping[str, JsonValue]]
    condition: Condition
    protocol: ProtocolSpec
    seed: int
    measure_base: bool


def expand(matrix: Matrix) -> tuple[CellSpec, ...]:
    """Return all cells: the base cells that are needed first, then the agents' cells.

    Order: repeat, then task, model, agent, so that an interrupted run has whole repeats.
    """
    included, excluded = Selectors(matrix.include), Selectors(matrix.exclude)
    agent_cells = [
        cell
        for cell in _agent_cells(matrix)
        if (not matrix.include or included.match(cell)) and not excluded.match(cell)
    ]
    if not matrix.measure_base:
        return tuple(agent_cells)
    pairs = dict.fromkeys((cell.task, cell.model) for cell in agent_cells)
    return (*(_base_cell(task, model, matrix) for task, model in pairs), *agent_cells)


def _agent_cells(matrix: Matrix) -> Iterator[CellSpec]:
    for repeat in range(1, matrix.repeats + 1):
        for task in matrix.tasks:
            for model in matrix.models:
                for agent in matrix.agents:
                    cell_id = f"{task}--{model}--{agent.name}--r{repeat}"
                    yield CellSpec(
                        id=cell_id,
                        kind="agent",
                        task=task,
                        model=model,
                        agent=agent,
                        repeat=repeat,
                        condition=matrix.condition,
                        protocol=matrix.protocol,
                        base_cell=_base_id(task, model) if matrix.measure_base else None,
                        seed=cell_seed(matrix.seed, cell_id),
                    )


def _base_cell(task: str, model: str, matrix: Matrix) -> CellSpec:
    return CellSpec(
        id=_base_id(task, model),
        kind="base",
        task=task,
        model=model,
        agent=None,
        repeat=1,
        condition=matrix.condition,
        protocol=matrix.protocol,
        base_cell=None,
        seed=cell_seed(matrix.seed, _base_id(task, model)),
    )


def _base_id(task: str, model: str) -> str:
    return f"{task}--{model}--base"


def cell_seed(plan_seed: int, cell_id: str) -> int:
    """Return the seed of a cell, in [0, 2**31)."""
    return int(short_hash([plan_seed, cell_id]), 16) & 0x7FFFFFFF


class Selectors:
    """A plan's ``include`` or ``exclude``, grouped so that a cell costs a few look-ups.

    A selector names one to four of task, model, agent and repeat; a cell matches when all that it
    names are equal. There are at most fifteen sets of names, however long the list is.
    """

    def __init__(self, selectors: Sequence[Mapping[str, JsonValue]]) -> None:
        self._values: dict[tuple[str, ...], set[tuple[JsonValue, ...]]] = {}
        for selector in selectors:
            names = tuple(sorted(selector))
            values = self._values.setdefault(names, set())
            values.add(tuple(selector[name] for name in names))

    def match(self, cell: CellSpec) -> bool:
        """Return whether any selector matches the cell."""
        facts = {
            "task": cell.task,
            "model": cell.model,
            "agent": cell.agent.name if cell.agent else None,
            "repeat": cell.repeat,
        }
        return any(
            tuple(facts[name] for name in names) in values for names, values in self._values.items()
        )
