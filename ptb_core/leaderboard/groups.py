"""Results brought into one form, before anything is computed: entries, grouped by what compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ptb_core.leaderboard.results import CellResult, Pair, Source
from ptb_core.specs import Condition, ProtocolSpec, Scoring

RepeatKey: TypeAlias = tuple[str, int]
"""Name of a source and a repeat in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a source says itself about an agent's benchmark score; None is "it does not say".

    Attributes:
        score: Benchmark score.
        sd: Sample standard deviation over runs.
        n_repeats: Number of runs.
    """

    score: float | None = None
    sd: float | None = None
    n_repeats: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The results of one agent or reference, for every pair of its group.

    Attributes:
        kind: ``agent`` or ``reference``.
        agent: Name.
        agent_id: Id, or None where there is none.
        title: Name to show instead of ``agent``; empty for none.
        repeats: Repeats that should have a score. Each has one cell per pair of the grid.
        cells: All cells, in any order.
        stated: What the source says itself; None when results are single runs.
        notes: What a reader must know.
    """

    kind: Literal["agent", "reference"]
    agent: str
    agent_id: str | None
    repeats: tuple[RepeatKey, ...]
    cells: tuple[CellResult, ...]
    title: str = ""
    stated: Stated | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Entries that may be compared.

    Attributes:
        condition_id: Hash of condition, protocol and grader, or None.
        condition: The condition, or None.
        condition_text: It in words.
        protocol: The protocol, or None.
        protocol_text: It in words.
        scoring: Which scoring counts, or None.
        sources: Where the entries come from.
        grid: Pairs that a repeat must have to have a benchmark score; at least one.
        weights: Weights as given, by task; possibly incomplete.
        engine_text: What served the checkpoints, in words; empty where no source says.
        grader_text: Who graded, with every wording of the plan's own; empty where no task is
            graded or no source says.
        weights_note: What the source says about them.
        entries: Agents and references.
        notes: What a reader must know.
    """

    condition_id: str | None
    condition: Condition | None
    condition_text: str
    protocol: ProtocolSpec | None
    protocol_text: str
    scoring: Scoring | None
    sources: tuple[Source, ...]
    grid: tuple[Pair, ...]
    weights: Mapping[str, float]
    entries: tuple[Entry, ...]
    engine_text: str = ""
    grader_text: str = ""
    weights_note: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the grid, in its order."""
        return tuple(dict.fromkeys(task for task, _ in self.grid))

    @property
    def models(self) -> tuple[str, ...]:
        """Models of the grid, in its order."""
        return tuple(dict.fromkeys(model for _, model in self.grid))
