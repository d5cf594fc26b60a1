"""What a reader of run results must know besides the numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ptb_core.leaderboard.base_scores import unlike_published
from ptb_core.leaderboard.cell_results import Rules
from ptb_core.leaderboard.results import Pair
from ptb_core.leaderboard.run_results import RunResults

LIMITS = {"max_tokens": "max tokens", "limit": "limit"}
"""Entries of an evaluation's details that make scores of a task incomparable when they differ."""

_NAMED = 5
"""Cells that one note names."""


def run_notes(runs: Sequence[RunResults], grid: Sequence[Pair], rules: Rules) -> tuple[str, ...]:
    """Return the notes of a group of runs.

    Args:
        runs: The runs.
        grid: The pairs that are shown.
        rules: What the user asked for.
    """
    return tuple(_notes(runs, grid, rules))


def _notes(runs: Sequence[RunResults], grid: Sequence[Pair], rules: Rules) -> Iterator[str]:
    for run in runs:
        yield from run.notes
        if not run.records:
            yield (
                f"{run.path}: none of its {len(run.run.cells)} cells has a usable record yet; "
                "`ptb status` shows where it stands"
            )
        yield from (f"counted as missing: {reason}" for reason in run.damaged.values())
    if rules.fallback == "published":
        yield (
            "fallback as published: every cell that ended without a valid result counts with "
            "the base score"
        )
    for plan in [run.run.plan for run in runs if run.run.plan.baselines == "published"][:1]:
        why = unlike_published(plan.protocol, rules.scoring)
        if why is None:
            yield (
                "base scores that no run measured are the published baselines (paper-v1), as the "
                "plan declares"
            )
        else:
            yield (
                "the published baselines, which the plan declares, are not comparable and left "
                f"out: they {why}"
            )
    if any(run.run.plan.declared is not None for run in runs):
        yield "base scores that no run measured are those of a file that the plan declares"
    yield from _changed_limits(runs, grid)
    yield from _done_again(runs)
    yield from _continued(runs)


def _changed_limits(runs: Sequence[RunResults], grid: Sequence[Pair]) -> Iterator[str]:
    """Name the cells of a task that were evaluated with another limit than most of its cells."""
    used: dict[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    shown = set(grid)
    for run in runs:
        for cell_id, record in sorted(run.records.items()):
            if (record.cell.task, record.cell.model) in shown and record.evaluation is not None:
                for key in LIMITS:
                    value = record.evaluation.details.get(key)
                    if isinstance(value, int):
                        used[record.cell.task, key][value].append(cell_id)
    for (task, key), cells in sorted(used.items()):
        usual = max(cells, key=lambda value: (len(cells[value]), value))
        for value in sorted(cells.keys() - {usual}):
            names = ", ".join(cells[value])
            yield f"{task}: {LIMITS[key]} {value} instead of {usual} in {names}"


def _done_again(runs: Sequence[RunResults]) -> Iterator[str]:
    """Name the cells whose present result is not their first."""
    for run in runs:
        again = sorted(cell for cell, record in run.records.items() if record.earlier)
        if again:
            words = "cell was" if len(again) == 1 else "cells were"
            names = ", ".join(again[:_NAMED]) + (", ..." if len(again) > _NAMED else "")
            yield (
                f"{run.path}: {len(again)} {words} judged or evaluated again ({names}); each "
                "record lists under `earlier` what the cell counted with before"
            )


def _continued(runs: Sequence[RunResults]) -> Iterator[str]:
    """Name the cells that another version of anything has begun."""
    for run in runs:
        cells = sorted(c for c, record in run.records.items() if record.lock.get("other_software"))
        if cells:
            words = "cell was" if len(cells) == 1 else "cells were"
            names = ", ".join(cells[:_NAMED]) + (", ..." if len(cells) > _NAMED else "")
            yield (
                f"{run.path}: {len(cells)} {words} begun with other versions of ptb, plugins or "
                f"libraries ({names}); each record says under `lock.other_software` which stages"
            )
