"""Where the base model's score of a cell comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptb_core.baselines import Baselines, engine_key
from ptb_core.leaderboard.counting import own_score
from ptb_core.leaderboard.results import Pair
from ptb_core.leaderboard.run_results import RunResults
from ptb_core.plan.grader import grader_identity
from ptb_core.specs import CellSpec, JsonValue, ProtocolSpec, Scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseScore:
    """A base score and where it was found, or None and why there is none."""

    score: float | None
    origin: str


class BaseScores:
    """Finds base scores: the cell's own run first, then the other given runs, then published.

    Another run's measurement is taken only when task, model, protocol, engine and, where answers
    are graded, the grader are the same,
    and so is one of a file that the plan declares. Published ones are taken only where the plan
    declares them, and only for cells that were asked and scored as they were: as published, with
    all samples and all tokens.
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
        if home.run.plan.declared is not None:
            return self._from_file(cell, home)
        if home.run.plan.baselines == "published":
            return self._as_published((cell.task, cell.model), home.run.plan.protocol)
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
        is_graded = record.evaluation is not None and "grader" in record.evaluation.details
        if is_graded and _grader(run) != _grader(home):
            return None
        return own_score(record, self._scoring)

    def _from_file(self, cell: CellSpec, home: RunResults) -> BaseScore:
        plan = home.run.plan
        assert plan.declared is not None
        why = plan.declared.unfit(cell.task, cell.model, cell.protocol, plan.engine, _grader(home))
        if why is not None:
            return BaseScore(score=None, origin=f"the plan's file of baselines has {why}")
        found = plan.declared.base_measurements[cell.task, cell.model]
        score = found.scores.get(self._scoring or cell.protocol.scoring)
        return BaseScore(
            score=None if score is None else score.value,
            origin="measured by `ptb baseline`, as the plan declares",
        )

    def _as_published(self, pair: Pair, protocol: ProtocolSpec) -> BaseScore:
        why = unlike_published(protocol, self._scoring)
        if why is not None:
            return BaseScore(score=None, origin=f"published baselines {why}")
        score = self._published.get(pair)
        task, model = pair
        missing = f"registry/baselines/published.json has no score of {model} on {task}"
        return BaseScore(score=score, origin=missing if score is None else "published baseline")


def _grader(run: RunResults) -> JsonValue:
    """Return what runs with the same grader share; None for a run without one."""
    spec = run.run.plan.grader
    return None if spec is None else grader_identity(spec)


def unlike_published(protocol: ProtocolSpec, scoring: Scoring | None) -> str | None:
    """Return why published baselines do not compare with a run, in words after their name.

    Args:
        protocol: The run's protocol.
        scoring: The scoring that the user asked for; None takes the protocol's.
    """
    if (scoring or protocol.scoring) != "published":
        return "exist under published scoring only"
    if protocol.requests != "published":
        return "were made with published requests, not with seeded ones"
    if protocol.limit is not None or protocol.max_tokens is not None:
        return "were made with all samples and the published number of tokens"
    return None
