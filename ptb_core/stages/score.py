"""score: completions become sample scores and a task score, both ways; needs no GPU.

``samples.jsonl`` in the attempt's folder holds one line per sample and scoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ptb_core.atomic import write_bytes
from ptb_core.canonical import file_sha256
from ptb_core.damage import unreadable
from ptb_core.errors import RecordError
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.score import ScoredSamples, evaluation_of, score_both
from ptb_core.specs import Scoring
from ptb_core.stages.context import Generated, Prepared, Scored, StageContext
from ptb_core.stages.prepare import data_dir_of


def score(context: StageContext) -> Scored:
    """Score what was generated; nothing is scored when nothing was."""
    generated = context.result("generate", Generated)
    if generated.state != "done" or generated.completions is None:
        return Scored(evaluation=None)
    require_unchanged(generated.completions, generated.completions_sha256)
    protocol = context.run.plan.protocol
    task = context.catalogue.task(context.cell.task)
    prepared = context.result("prepare", Prepared)
    samples = task.order(task.samples(data_dir_of(prepared)), protocol.limit)
    scored = score_both(task, samples, read_completions(generated.completions))
    write_bytes(context.attempt_dir / "samples.jsonl", _lines(scored))
    details = {**generated.details, "data": dict(prepared.revisions)}
    return Scored(evaluation=evaluation_of(scored, len(samples), protocol.scoring, details))


def require_unchanged(completions: Path, sha256: str) -> None:
    """Make sure that what is scored is what the checkpoint has answered.

    Args:
        completions: The log of completions.
        sha256: Its digest when it was complete; empty when nobody noted it.

    Raises:
        RecordError: If it has changed since, or cannot be read.
    """
    if not sha256:
        return
    remedy = (
        "restore it from a copy, or move it and the done.json beside it away and run the plan "
        "again to have it made anew"
    )
    try:
        found = file_sha256(completions)
    except OSError as error:
        raise unreadable(completions, error, remedy) from error
    if found != sha256:
        raise RecordError(
            f"{completions} has changed since the checkpoint answered: sha256 {sha256[:12]} then, "
            f"{found[:12]} now; {remedy}"
        )


def _lines(scored: Mapping[Scoring, ScoredSamples]) -> bytes:
    rows = [
        {"scoring": scoring, **msgspec.to_builtins(sample)}
        for scoring, result in scored.items()
        for sample in result.samples
    ]
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
