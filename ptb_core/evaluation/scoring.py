"""From a log of completions to an evaluation: checks, scores both ways, average over seeds.

The same for the final score of a cell and for an evaluation that stands alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.atomic import write_json
from ptb_core.damage import read_stored
from ptb_core.evaluation.checking import Runners, perform_checks
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.exchange import DataDir, Sample, SampleScore, TaskScore
from ptb_core.evaluation.rounds import Round, average, over_rounds, rounds_of, seed_table
from ptb_core.evaluation.score import ScoredSamples, evaluation_of, score_both
from ptb_core.interfaces import Task
from ptb_core.json_codec import encodable
from ptb_core.records import Evaluation
from ptb_core.specs import SCORINGS, JsonValue, ProtocolSpec, Scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRound:
    """One round's scores, by scoring."""

    round: Round
    scored: Mapping[Scoring, ScoredSamples]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCompletions:
    """Everything that scoring brings.

    Attributes:
        rounds: Scores of each round, in order.
        evaluation: The evaluation, averaged over the rounds.
    """

    rounds: tuple[ScoredRound, ...]
    evaluation: Evaluation

    def lines(self) -> bytes:
        """Return one JSON line per sample, scoring and round; several rounds name their seed."""
        rows = [
            {
                **({"seed": one.round.seed} if len(self.rounds) > 1 else {}),
                "scoring": scoring,
                **msgspec.to_builtins(sample),
            }
            for one in self.rounds
            for scoring, result in one.scored.items()
            for sample in result.samples
        ]
        return b"".join(msgspec.json.encode(encodable(row)) + b"\n" for row in rows)


def score_completions(
    task: Task,
    samples: Sequence[Sample],
    protocol: ProtocolSpec,
    completions: Path,
    runners: Runners,
    checks: Path,
    *,
    details: Mapping[str, JsonValue],
    progress: Callable[[int, int], None] | None = None,
) -> ScoredCompletions:
    """Perform what checks are open, then score every round both ways.

    The evaluation is complete only when every sample is scored under both scorings in every
    round.

    Args:
        task: The task.
        samples: All samples that have to be scored, in order.
        protocol: The protocol; says which rounds there are and which scoring counts.
        completions: The log of completions, of all rounds.
        runners: Who performs the checks.
        checks: The log of checks; created only if the task has any.
        details: Further facts for the record.
        progress: Told the number of checks done and expected over all rounds, at least every
            second while checks are under way. What it raises ends the call.

    Raises:
        RecordError: If a log is damaged.
    """
    rounds = rounds_of(protocol)
    scored = []
    performed = resumed = 0
    for place, one in enumerate(rounds):
        checked = perform_checks(
            task,
            samples,
            read_completions(completions, one.number),
            runners,
            checks,
            epoch=one.number,
            progress=over_rounds(progress, place, len(rounds)),
        )
        performed, resumed = performed + checked.performed, resumed + checked.resumed
        both = score_both(task, samples, checked.completions, checked.failures)
        scored.append(ScoredRound(round=one, scored=both))
    facts = dict(details)
    if performed or resumed:
        facts["checks"] = {"performed": performed, "resumed": resumed}
    facts |= _facts_of(runners, checks)
    evaluation = _evaluation(scored, len(samples), protocol.scoring, facts)
    return ScoredCompletions(rounds=tuple(scored), evaluation=evaluation)


def data_details(data: DataDir) -> dict[str, JsonValue]:
    """Return what a record says about a task's data: revisions, and digests of wordings."""
    return {
        "data": dict(data.revisions),
        "prompts": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in data.prompts.items()
        },
    }


def _facts_of(runners: Runners, checks: Path) -> dict[str, JsonValue]:
    """Return what performed the checks, also when that was before a resumption.

    It is kept beside the log of checks, because a runner that has nothing left to do knows
    nothing about itself.
    """
    kept = checks.with_suffix(".facts.json")
    facts: dict[str, JsonValue] = (
        read_stored(kept, dict, "remove it; the record then lacks what it says") or {}
    )
    for name, runner in (("execution", runners.programs), ("grader", runners.grader)):
        if runner is not None and (known := runner.facts()):
            facts[name] = dict(known)
    if facts:
        write_json(kept, facts)
    return facts


def _evaluation(
    rounds: Sequence[ScoredRound],
    n_samples: int,
    counted: Scoring,
    details: Mapping[str, JsonValue],
) -> Evaluation:
    if len(rounds) == 1:
        return evaluation_of(rounds[0].scored, n_samples, counted, details)
    merged = {
        scoring: ScoredSamples(
            samples=_in_every_round(rounds, scoring),
            total=_average([_whole(one.scored[scoring]) for one in rounds]),
            failures={
                sample: f"seed {one.round.seed}: {reason}"
                for one in rounds
                for sample, reason in one.scored[scoring].failures.items()
            },
        )
        for scoring in SCORINGS
    }
    totals: list[Mapping[Scoring, TaskScore]] = [
        {s: total for s, r in one.scored.items() if (total := _whole(r)) is not None}
        for one in rounds
    ]
    seeds = seed_table([one.round for one in rounds], totals)
    return evaluation_of(merged, n_samples, counted, {**details, "seeds": seeds})


def _whole(scored: ScoredSamples) -> TaskScore | None:
    """Return the score of a round, or None when samples lack one: part of it is no score."""
    return None if scored.failures else scored.total


def _in_every_round(rounds: Sequence[ScoredRound], scoring: Scoring) -> tuple[SampleScore, ...]:
    lacking = {sample for one in rounds for sample in one.scored[scoring].failures}
    return tuple(s for s in rounds[0].scored[scoring].samples if s.id not in lacking)


def _average(totals: Sequence[TaskScore | None]) -> TaskScore | None:
    """None unless every round has a score."""
    known = [total for total in totals if total is not None]
    return average(known) if len(known) == len(totals) else None
