"""Completions scored both ways, for tests that need no log of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptb_core.evaluation.exchange import Completion, Sample
from ptb_core.evaluation.score import evaluation_of, score_both
from ptb_core.interfaces import Task
from ptb_core.records import Evaluation
from ptb_core.specs import JsonValue, Scoring


def evaluate_both(
    task: Task,
    samples: Sequence[Sample],
    completions: Mapping[str, Sequence[Completion]],
    *,
    counted: Scoring,
    details: Mapping[str, JsonValue] | None = None,
) -> Evaluation:
    """Score completions both ways; see :func:`ptb_core.evaluation.score.evaluation_of`."""
    scored = score_both(task, samples, completions)
    return evaluation_of(scored, len(samples), counted, details or {})
