"""Where the base model's score of a cell comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptb_core.baselines import Baselines
from ptb_core.canonical import short_hash
from ptb_core.leaderboard.counting import own_score
from ptb_core.leaderboard.results import Pair
from ptb_core.leaderboard.run_results import RunResults
from ptb_core.specs import CellSpec, ComponentChoice, Scoring


def engine_key(engine: ComponentChoice) -> tuple[str, str]:
    """Return what is equal for engines whose scores may be compared: name and settings.

    A setting without a value is as good as one that its version of the engine did not have.
    """
    given = {name: value for name, value in engine.settings.items() if value is not None}
    return engine.name, short_hash(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseScore:
    """A base score and where it was found, or None and why there is none."""

    score: float | None
    origin: str


class BaseScores:
    """Finds base scores: the cell's own run first, then the other given runs, then published.

    Another run's measurement is taken only when task, model, protocol and engine are the same.
    Published ones are taken only where the plan declares them, and never under a scoring that
    they were not made with.
    """

    def __init__(
        self,
        runs: Sequence[RunResults],
        published: Baselines,
        scoring: Scoring | None,
    ) -> None:
        self._runs = sorted(runs, key=lambda run: run.run.run_id)
        self._published = published.base
        self._scoring = scoring

    def find(self, cell: CellSpec, home: RunResults, *, elsewhere: bool = True) -> BaseScore:
        """Return the base score that counts for an agent's cell.

        Args:
            cell: The agent's cell.
            home: Its run.
            elsewhere: True to look into the other runs too.
        """
        if cell.base_cell is not None:
            others = [run for run in self._runs if run is not home] if elsewhere else []
            for run in (home, *others):
                score = self._measured(cell, cell.base_cell, run, home)
                if score is not None:
                    where = "" if run is home else f" of run {run.run.run_id}"
                    return BaseScore(score=score, origin=f"measured by {cell.base_cell}{where}")
        if home.run.plan.baselines == "published":
            return self._declared((cell.task, cell.model))
        if cell.base_cell is None:
            return BaseScore(score=None, origin="the plan names no base cell for it")
        return BaseScore(score=None, origin=f"{cell.base_cell} has no complete score yet")

    def _measured(
        self, cell: CellSpec, base_cell: str, run: RunResults, home: RunResults
    ) -> float | None:
        record = run.records.get(base_cell)
        if record is None or record.cell.kind != "base" or record.counts != "own":
            return None
        there = (record.cell.task, record.cell.model, record.cell.protocol)
        if there != (cell.task, cell.model, cell.protocol):
            return None
        if engine_key(run.run.plan.engine) != engine_key(home.run.plan.engine):
            return None
        return own_score(record, self._scoring)

    def _declared(self, pair: Pair) -> BaseScore:
        if self._scoring == "repaired":
            return BaseScore(
                score=None, origin="published baselines exist under published scoring only"
            )
        score = self._published.get(pair)
        task, model = pair
        missing = f"registry/baselines/published.json has no score of {model} on {task}"
        return BaseScore(score=score, origin=missing if score is None else "published baseline")
