"""Several evaluations of one checkpoint, one per seed, and their average.

A round asks everything once. What a seed gives does not depend on the seeds beside it: each
round counts as epoch 1 of its own seed, so that a plan with that seed alone has the same answers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ptb_core.evaluation.exchange import TaskScore
from ptb_core.specs import JsonValue, ProtocolSpec, Scoring

if TYPE_CHECKING:
    from ptb_core.evaluation.questions import GenerateOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One evaluation.

    Attributes:
        number: From 1; names its answers in the log.
        seed: Seed from which each request's own seed is derived; None for published requests.
    """

    number: int
    seed: int | None


def rounds_of(protocol: ProtocolSpec) -> tuple[Round, ...]:
    """Return the evaluations that a protocol asks for; at least one."""
    if protocol.requests == "published":
        return (Round(number=1, seed=None),)
    seeds = protocol.seeds or (protocol.sampling.seed,)
    return tuple(Round(number=number, seed=seed) for number, seed in enumerate(seeds, start=1))


def alone(one: Round, protocol: ProtocolSpec) -> ProtocolSpec:
    """Return the protocol that asks for one of another protocol's evaluations and no more."""
    return protocol if one.seed is None else replace(protocol, seeds=(one.seed,))


def options_of(one: Round, options: GenerateOptions) -> GenerateOptions:
    """Return how the model is asked in one round."""
    if one.seed is None:
        return replace(options, round=one.number)
    return replace(options, round=one.number, sampling=replace(options.sampling, seed=one.seed))


def over_rounds(
    progress: Callable[[int, int], None] | None, place: int, n_rounds: int
) -> Callable[[int, int], None] | None:
    """Return what one round tells, to be counted over all of them.

    Args:
        progress: Told the numbers done and expected over all rounds, or None.
        place: The round's place, from 0.
        n_rounds: Number of rounds, taken to be of equal size.
    """
    if progress is None or n_rounds == 1:
        return progress
    return lambda done, total: progress(place * total + done, n_rounds * total)


def average(scores: Sequence[TaskScore]) -> TaskScore:
    """Return the mean of scores over the same samples under several seeds.

    The standard error is the root mean square of theirs, that is, of one evaluation: the samples
    stay the same, so that further seeds say nothing about other samples. It is therefore no
    smaller than the truth. A breakdown is averaged over the seeds that have it; marks are summed.

    Args:
        scores: At least one, all over the same number of samples.
    """
    first = scores[0]
    if len(scores) == 1:
        return first
    errors = [score.stderr for score in scores if score.stderr is not None]
    names = dict.fromkeys(name for score in scores for name in score.breakdowns)
    breakdowns = {
        name: statistics.fmean(
            [score.breakdowns[name] for score in scores if name in score.breakdowns]
        )
        for name in names
    }
    marks: dict[str, int] = {}
    for score in scores:
        for mark, count in score.marks.items():
            marks[mark] = marks.get(mark, 0) + count
    return TaskScore(
        value=statistics.fmean([score.value for score in scores]),
        stderr=math.sqrt(statistics.fmean([error**2 for error in errors])) if errors else None,
        n=first.n,
        breakdowns=breakdowns,
        marks=dict(sorted(marks.items())),
    )


def seed_table(
    rounds: Sequence[Round], scores: Sequence[Mapping[Scoring, TaskScore]]
) -> dict[str, JsonValue]:
    """Return each seed's values and their spread, for the record.

    The spread is the sample standard deviation (n - 1) of the values; it is left out for a
    scoring under which a seed has no score.

    Args:
        rounds: At least two.
        scores: Scores by scoring, in the order of the rounds.
    """
    per_seed: list[JsonValue] = [
        {"seed": one.seed, "values": {scoring: score.value for scoring, score in found.items()}}
        for one, found in zip(rounds, scores, strict=True)
    ]
    values: dict[Scoring, list[float]] = {}
    for found in scores:
        for scoring, score in found.items():
            values.setdefault(scoring, []).append(score.value)
    spread = {
        scoring: statistics.stdev(found)
        for scoring, found in values.items()
        if len(found) == len(rounds)
    }
    return {"per_seed": per_seed, "spread": spread}
