"""From run folders to groups: agents under one condition, on one engine, with the same cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ptb_core.baselines import Baselines, engine_key
from ptb_core.leaderboard.averages import normalised_weights
from ptb_core.leaderboard.base_scores import BaseScores, unlike_published
from ptb_core.leaderboard.cell_results import Rules, base_results, count_cells
from ptb_core.leaderboard.groups import Entry, Group
from ptb_core.leaderboard.outside import reference_entry
from ptb_core.leaderboard.results import CellResult, Pair, Source
from ptb_core.leaderboard.run_notes import run_notes
from ptb_core.leaderboard.run_results import RunResults
from ptb_core.leaderboard.wording import condition_words, engine_words, grader_words, protocol_words
from ptb_core.specs import CellSpec, Scoring

BASE_ROW = "base model"


def run_groups(runs: Sequence[RunResults], published: Baselines, rules: Rules) -> list[Group]:
    """Group the agents of runs by condition, engine, set of cells and weights.

    Args:
        runs: The runs, each once.
        published: Published baselines, for plans that declare them; else empty.
        rules: What the user asked for.
    """
    ordered = sorted(runs, key=lambda run: run.run.run_id)
    bases = BaseScores(ordered, published, rules.scoring)
    shares: dict[tuple[object, ...], list[_Share]] = defaultdict(list)
    for run in ordered:
        for share in _shares(run):
            shares[share.key].append(share)
    return [_group(members, bases, published, rules) for members in shares.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """One agent's part of one run."""

    run: RunResults
    agent: str
    cells: tuple[CellSpec, ...]
    grid: tuple[Pair, ...]

    @property
    def agent_key(self) -> tuple[str, str]:
        return self.agent, self.run.run.plan.agent_ids[self.agent]

    @property
    def key(self) -> tuple[object, ...]:
        """What must be equal for rows to be compared."""
        plan = self.run.run.plan
        weights, _ = normalised_weights([task for task, _ in self.grid], plan.weights)
        rounded = tuple(sorted((task, round(weight, 9)) for task, weight in weights.items()))
        return (plan.condition_id, engine_key(plan.engine), tuple(sorted(self.grid)), rounded)


def _shares(run: RunResults) -> Iterator[_Share]:
    cells: dict[str, list[CellSpec]] = defaultdict(list)
    for cell in run.run.cells:
        if cell.agent is not None:
            cells[cell.agent.name].append(cell)
    for agent, own in cells.items():
        grid = tuple(dict.fromkeys((cell.task, cell.model) for cell in own))
        yield _Share(run=run, agent=agent, cells=tuple(own), grid=grid)


def _group(
    members: Sequence[_Share], bases: BaseScores, published: Baselines, rules: Rules
) -> Group:
    plan = members[0].run.run.plan
    grid = members[0].grid
    runs = list({share.run.run.run_id: share.run for share in members}.values())
    return Group(
        condition_id=plan.condition_id,
        condition=plan.condition,
        condition_text=condition_words(plan.condition),
        protocol=plan.protocol,
        protocol_text=protocol_words(plan.protocol, rules.scoring),
        engine_text=engine_words(plan.engine),
        grader_text=grader_words(plan.grader),
        scoring=rules.scoring or plan.protocol.scoring,
        sources=tuple(Source(name=r.run.run_id, path=r.path, kind="run") for r in runs),
        grid=grid,
        weights=plan.weights,
        weights_note=plan.weights_note,
        entries=(
            *_agent_entries(members, grid, bases, rules),
            *_references(runs, grid, bases, published, rules.scoring),
        ),
        notes=run_notes(runs, grid, rules),
    )


def _agent_entries(
    members: Sequence[_Share], grid: Sequence[Pair], bases: BaseScores, rules: Rules
) -> Iterator[Entry]:
    results: dict[tuple[str, str], list[CellResult]] = defaultdict(list)
    for share in members:
        results[share.agent_key] += count_cells(share.cells, grid, share.run, bases, rules)
    for (agent, agent_id), cells in results.items():
        yield _entry("agent", agent, agent_id, cells)


def _references(
    runs: Sequence[RunResults],
    grid: Sequence[Pair],
    bases: BaseScores,
    published: Baselines,
    scoring: Scoring | None,
) -> Iterator[Entry]:
    cells = base_results(runs, grid, bases)
    if cells:
        yield _entry("reference", BASE_ROW, None, cells)
    declaring = [run.run.plan for run in runs if run.run.plan.baselines == "published"]
    if declaring and unlike_published(declaring[0].protocol, scoring) is None:
        for extra in published.references:
            if all(pair in extra.pairs for pair in grid):
                name = f"{extra.name} ({extra.protocol})"
                yield reference_entry("published", name, extra.pairs, grid)


def _entry(
    kind: Literal["agent", "reference"],
    agent: str,
    agent_id: str | None,
    cells: Sequence[CellResult],
) -> Entry:
    return Entry(
        kind=kind,
        agent=agent,
        agent_id=agent_id,
        repeats=tuple(sorted({(cell.source, cell.repeat) for cell in cells})),
        cells=tuple(cells),
    )
