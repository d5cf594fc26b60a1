"""From completions to a score, under both scorings; needs no GPU and can be repeated alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ptb_core.evaluation.exchange import UNCHECKED, Completion, Sample, SampleScore, TaskScore
from ptb_core.interfaces import Task
from ptb_core.record_rules import score_fault
from ptb_core.records import Evaluation
from ptb_core.specs import SCORINGS, JsonValue, Scoring

TRUNCATED = "truncated"
"""Mark of samples of which an answer ended at its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSamples:
    """Scores under one scoring.

    Attributes:
        samples: Scores of the samples that could be scored, in order.
        total: The task's score over them; None when there are none or the task could not
            aggregate them.
        failures: Why the other samples have no score, by id. What a task's own code raised
            names the task; the key ``""`` stands for its ``aggregate``.
    """

    samples: tuple[SampleScore, ...]
    total: TaskScore | None
    failures: Mapping[str, str]


def score_task(
    task: Task,
    samples: Sequence[Sample],
    completions: Mapping[str, Sequence[Completion]],
    scoring: Scoring,
    unchecked: Mapping[str, str] | None = None,
) -> ScoredSamples:
    """Score samples one by one, then the task; nothing that a task raises gets out.

    Args:
        task: The task.
        samples: All samples that have to be scored.
        completions: By sample id, in request order.
        scoring: Which rules.
        unchecked: Why samples cannot be scored although they have completions, by id.
    """
    scores: list[SampleScore] = []
    failures: dict[str, str] = {}
    for sample in samples:
        if unchecked and sample.id in unchecked:
            failures[sample.id] = unchecked[sample.id]
            continue
        if sample.id not in completions:
            failures[sample.id] = "it has no completion"
            continue
        try:
            score = task.score(sample, completions[sample.id], scoring)
            if not math.isfinite(score.value):
                raise ValueError(f"the score {score.value} is no number")
        except Exception as error:
            failures[sample.id] = _blame(task, "score", error)
            continue
        if UNCHECKED in score.marks:
            failures[sample.id] = "a check that its score depends on has no result"
        else:
            scores.append(_mark_truncated(score, completions[sample.id]))
    total = None
    if scores:
        try:
            total = _sound(task.aggregate(scores, scoring))
        except Exception as error:
            failures[""] = _blame(task, "aggregate", error)
    return ScoredSamples(samples=tuple(scores), total=total, failures=failures)


def score_both(
    task: Task,
    samples: Sequence[Sample],
    completions: Mapping[str, Sequence[Completion]],
    unchecked: Mapping[str, str] | None = None,
) -> Mapping[Scoring, ScoredSamples]:
    """Score completions under each scoring; arguments as for :func:`score_task`."""
    return {
        scoring: score_task(task, samples, completions, scoring, unchecked) for scoring in SCORINGS
    }


def evaluation_of(
    scored: Mapping[Scoring, ScoredSamples],
    n_expected: int,
    counted: Scoring,
    details: Mapping[str, JsonValue],
) -> Evaluation:
    """Put scores under each scoring together.

    The evaluation is complete only when every sample is scored under both scorings. Reasons why
    samples are not go into ``details["failures"]`` by scoring and sample id.

    Args:
        scored: Of :func:`score_both`.
        n_expected: Number of samples that have to be scored.
        counted: Which scoring counts under the cell's protocol.
        details: Further facts for the record.
    """
    failures = {scoring: dict(result.failures) for scoring, result in scored.items()}
    has_failures = any(failures.values())
    return Evaluation(
        complete=n_expected > 0 and not has_failures,
        n_expected=n_expected,
        n_scored=min(len(result.samples) for result in scored.values()),
        scores={s: result.total for s, result in scored.items() if result.total is not None},
        counted=counted,
        details={**details, **({"failures": failures} if has_failures else {})},
    )


def _sound(score: TaskScore) -> TaskScore:
    fault = score_fault(score)
    if fault is not None:
        raise ValueError(f"its {fault}")
    return score


def _mark_truncated(score: SampleScore, completions: Sequence[Completion]) -> SampleScore:
    is_truncated = any(completion.finish_reason == "length" for completion in completions)
    if not is_truncated or TRUNCATED in score.marks:
        return score
    return replace(score, marks=(*score.marks, TRUNCATED))


def _blame(task: Task, method: str, error: Exception) -> str:
    """Name the task whose code raised, in words for a record."""
    owner = f"{type(task).__module__}.{type(task).__qualname__}"
    return f"task {task.spec.name!r} ({owner}) raised in {method}: {type(error).__name__}: {error}"
