"""What each cell of a run contributes: which score counts, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ptb_core.errors import printable
from ptb_core.leaderboard.base_scores import BaseScore, BaseScores
from ptb_core.leaderboard.counting import contradiction, own_score, violations
from ptb_core.leaderboard.results import CellResult, Fallback, Pair
from ptb_core.leaderboard.run_results import RunResults
from ptb_core.records import Record
from ptb_core.specs import CellSpec, Scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the user asked for: a scoring other than the protocol's, another fallback rule."""

    scoring: Scoring | None = None
    fallback: Fallback = "project"


def count_cells(
    cells: Sequence[CellSpec],
    grid: Sequence[Pair],
    run: RunResults,
    bases: BaseScores,
    rules: Rules,
) -> Iterator[CellResult]:
    """Yield one result for every repeat and pair of an agent, planned or not.

    Args:
        cells: The agent's cells in this run.
        grid: Pairs that each repeat should have.
        run: The run.
        bases: Where base scores come from.
        rules: What the user asked for.
    """
    planned = {(cell.repeat, (cell.task, cell.model)): cell for cell in cells}
    for repeat in sorted({cell.repeat for cell in cells}):
        for pair in grid:
            cell = planned.get((repeat, pair))
            if cell is None:
                yield _unplanned(run, repeat, pair)
            else:
                yield count_cell(cell, run, bases, rules)


def count_cell(cell: CellSpec, run: RunResults, bases: BaseScores, rules: Rules) -> CellResult:
    """Return what an agent's cell counts with, its score, and why.

    A cell that has no record yet is missing under every rule: it has not ended.

    Args:
        cell: The expected cell.
        run: Its run.
        bases: Where base scores come from.
        rules: What the user asked for.
    """
    record = run.records.get(cell.id)
    if record is None:
        return _result(cell, run, None, run.damaged.get(cell.id, "no record yet"))
    wrong = contradiction(record)
    if wrong is not None:
        return _result(cell, run, record, wrong)
    if record.counts == "base" or (record.counts == "missing" and rules.fallback == "published"):
        return _base_result(cell, run, record, bases.find(cell, run))
    if record.counts == "missing":
        return _result(cell, run, record, record.reason)
    score = own_score(record, rules.scoring)
    if score is None:
        return _result(cell, run, record, f"no complete score under {rules.scoring} scoring")
    return _result(cell, run, record, "", score)


def base_results(
    runs: Sequence[RunResults], grid: Sequence[Pair], bases: BaseScores
) -> list[CellResult]:
    """Return the base model's own results: one repeat per run that measures them.

    Where no run does, published or declared baselines are one repeat if a plan has them.
    """
    measuring = [run for run in runs if any(cell.kind == "base" for cell in run.run.cells)]
    declaring = [run for run in runs if run.run.plan.baselines != "measured"]
    results: list[CellResult] = []
    for run in measuring or declaring[:1]:
        users = _users(run)
        found = [_base_row_result(users[pair], run, bases) for pair in grid]
        if any(result.score is not None for result in found):
            results += found
    return results


def _users(run: RunResults) -> Mapping[Pair, CellSpec]:
    return {(cell.task, cell.model): cell for cell in run.run.cells if cell.kind == "agent"}


def _base_row_result(user: CellSpec, run: RunResults, bases: BaseScores) -> CellResult:
    base = bases.find(user, run, elsewhere=False)
    return CellResult(
        source=run.run.run_id,
        cell=user.base_cell or "",
        task=user.task,
        model=user.model,
        repeat=1,
        counts="missing" if base.score is None else "own",
        score=base.score,
        reason=base.origin,
    )


def _base_result(cell: CellSpec, run: RunResults, record: Record, base: BaseScore) -> CellResult:
    reason = f"{record.reason}; base score: {base.origin}"
    return _result(cell, run, record, reason, base.score, base=True)


def _result(
    cell: CellSpec,
    run: RunResults,
    record: Record | None,
    reason: str,
    score: float | None = None,
    *,
    base: bool = False,
) -> CellResult:
    return CellResult(
        source=run.run.run_id,
        cell=cell.id,
        task=cell.task,
        model=cell.model,
        repeat=cell.repeat,
        counts="missing" if score is None else "base" if base else "own",
        score=score,
        reason=printable(reason),
        verdict=record.verdict if record else None,
        violations=violations(record) if record else (),
        submission=record.submission if record else None,
    )


def _unplanned(run: RunResults, repeat: int, pair: Pair) -> CellResult:
    return CellResult(
        source=run.run.run_id,
        cell="",
        task=pair[0],
        model=pair[1],
        repeat=repeat,
        counts="missing",
        score=None,
        reason="the plan leaves this cell out of this repeat",
    )
