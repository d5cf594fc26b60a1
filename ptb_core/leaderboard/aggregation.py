"""From a group's cells to its rows: per-task means, benchmark score, spread, marks, ranks.

The benchmark score of a repeat is the weighted sum over tasks of the mean over models; an
agent's score is the mean of its repeats, with their sample standard deviation.

Source: the protocol's "A cell and the score".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ptb_core.integrity import Outcome
from ptb_core.leaderboard.averages import mean, normalised_weights, sample_sd
from ptb_core.leaderboard.groups import Entry, Group, RepeatKey
from ptb_core.leaderboard.results import (
    CellResult,
    CellTally,
    Pair,
    RepeatScore,
    Row,
    Section,
    TaskMean,
)

STATED_TOLERANCE = 6e-4
"""Largest difference between a stated and a computed score that passes without a note: 0.06
percentage points, a little more than the rounding of a printed tenth."""


def build_section(group: Group, labels: Mapping[tuple[str, str | None], str]) -> Section:
    """Compute a group's rows.

    Args:
        group: The group.
        labels: What tables show for each agent name and id.
    """
    weights, words = normalised_weights(group.tasks, group.weights)
    rows = [
        _row(entry, labels.get((entry.agent, entry.agent_id)), group.grid, weights)
        for entry in group.entries
    ]
    return Section(
        condition_id=group.condition_id,
        condition=group.condition,
        condition_text=group.condition_text,
        protocol=group.protocol,
        protocol_text=group.protocol_text,
        engine_text=group.engine_text,
        grader_text=group.grader_text,
        scoring=group.scoring,
        sources=tuple(sorted(group.sources, key=lambda source: (source.name, source.path))),
        tasks=group.tasks,
        models=group.models,
        weights=weights,
        weights_note="; ".join(filter(None, (group.weights_note, words))),
        rows=_ranked([row for row in rows if row.kind == "agent"]),
        references=tuple(row for row in rows if row.kind == "reference"),
        notes=group.notes,
    )


def _row(
    entry: Entry, label: str | None, grid: Sequence[Pair], weights: Mapping[str, float]
) -> Row:
    scores = _Scores.of(entry)
    repeats = tuple(_repeat_score(key, scores, grid, weights) for key in sorted(entry.repeats))
    spread = _spread(entry, [r.score for r in repeats if r.score is not None])
    return Row(
        rank=None,
        kind=entry.kind,
        agent=entry.agent,
        agent_id=entry.agent_id,
        label=entry.title or label or entry.agent,
        score=spread.score,
        sd=spread.sd,
        score_basis=None if spread.score is None else "cells" if entry.cells else "stated",
        sd_basis=None if spread.sd is None else "stated" if entry.stated else "repeats",
        n_repeats=spread.n_repeats,
        n_repeats_planned=entry.stated.n_repeats if entry.stated else len(repeats),
        repeats=repeats,
        tasks={task: _task_mean(task, scores, grid) for task in weights} if entry.cells else {},
        counts=_tally(entry.cells),
        flagged_share=_share(entry.cells, "flagged"),
        inconclusive_share=_share(entry.cells, "inconclusive"),
        missing_share=sum(c.counts == "missing" for c in entry.cells) / (len(entry.cells) or 1),
        violations=dict(sorted(Counter(v for c in entry.cells for v in c.violations).items())),
        notes=(*entry.notes, *_disagreement(entry, spread)),
        cells=tuple(sorted(entry.cells, key=lambda c: (c.source, c.repeat, c.task, c.model))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """An entry's scores by repeat and pair; and, of cells that are means, their spread by pair."""

    by_repeat: Mapping[RepeatKey, Mapping[Pair, float]]
    sds: Mapping[Pair, float]

    @classmethod
    def of(cls, entry: Entry) -> _Scores:
        by_repeat: dict[RepeatKey, dict[Pair, float]] = {key: {} for key in entry.repeats}
        sds: dict[Pair, float] = {}
        for cell in entry.cells:
            if cell.score is not None:
                by_repeat[cell.source, cell.repeat][cell.task, cell.model] = cell.score
            if cell.sd is not None:
                sds[cell.task, cell.model] = cell.sd
        return cls(by_repeat=by_repeat, sds=sds)


def _repeat_score(
    key: RepeatKey, scores: _Scores, grid: Sequence[Pair], weights: Mapping[str, float]
) -> RepeatScore:
    have = scores.by_repeat[key]
    missing = sum(pair not in have for pair in grid)
    score = None
    if not missing:
        score = math.fsum(
            weight * mean([have[pair] for pair in grid if pair[0] == task])
            for task, weight in weights.items()
        )
    return RepeatScore(source=key[0], repeat=key[1], score=score, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    score: float | None
    sd: float | None
    n_repeats: int | None


def _spread(entry: Entry, whole: Sequence[float]) -> _Spread:
    """Return mean and spread over whole repeats; what the source states where it must be asked."""
    computed = mean(whole) if whole else None
    if entry.stated is None:
        return _Spread(score=computed, sd=sample_sd(whole), n_repeats=len(whole))
    stated = entry.stated
    score = computed if entry.cells else stated.score
    return _Spread(score=score, sd=stated.sd, n_repeats=stated.n_repeats)


def _disagreement(entry: Entry, spread: _Spread) -> tuple[str, ...]:
    stated = entry.stated.score if entry.stated else None
    if stated is None or spread.score is None or abs(stated - spread.score) <= STATED_TOLERANCE:
        return ()
    return (
        f"the source states {100 * stated:.2f}, but its cells give {100 * spread.score:.2f}, "
        "which is shown",
    )


def _task_mean(task: str, scores: _Scores, grid: Sequence[Pair]) -> TaskMean:
    pairs = [pair for pair in grid if pair[0] == task]
    whole = [have for _, have in sorted(scores.by_repeat.items()) if all(p in have for p in pairs)]
    if not whole:
        return TaskMean(mean=None, sd=None, n_repeats=0)
    sds = [scores.sds.get(p, sample_sd([have[p] for have in whole])) for p in pairs]
    known = [sd for sd in sds if sd is not None]
    return TaskMean(
        mean=mean([mean([have[pair] for pair in pairs]) for have in whole]),
        sd=mean(known) if len(known) == len(pairs) else None,
        n_repeats=len(whole),
    )


def _tally(cells: Sequence[CellResult]) -> CellTally:
    counts = Counter(cell.counts for cell in cells)
    return CellTally(
        total=len(cells),
        own=counts["own"],
        base=counts["base"],
        missing=counts["missing"],
        given=counts["given"],
    )


def _share(cells: Sequence[CellResult], verdict: Outcome) -> float:
    return sum(cell.verdict == verdict for cell in cells) / (len(cells) or 1)


def _ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows best first; equal scores share a rank, rows without a score come last."""
    ordered = sorted(
        rows, key=lambda r: (r.score is None, -(r.score or 0.0), r.label, r.agent_id or "")
    )
    scores = [row.score for row in ordered]
    return tuple(
        row if row.score is None else replace(row, rank=1 + scores.index(row.score))
        for row in ordered
    )
