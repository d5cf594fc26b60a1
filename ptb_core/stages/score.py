"""score: completions become sample scores and a task score, both ways; needs no GPU.

``samples.jsonl`` in the attempt's folder holds one line per sample and scoring. Results of
programs and graders are kept in ``checks.jsonl`` over all attempts, so a killed scoring continues
where it stood; a scoring that is done again has a log of its own.
"""

from __future__ import annotations

from pathlib import Path

from ptb_core.atomic import write_bytes
from ptb_core.evaluation import completion_log
from ptb_core.evaluation.samples import samples_of
from ptb_core.stages.context import Generated, Prepared, Scored, StageContext
from ptb_core.stages.markers import read_marker
from ptb_core.stages.prepare import data_dir_of
from ptb_core.stages.progress import progress_of


def score(context: StageContext) -> Scored:
    """Score what was generated; nothing is scored when nothing was."""
    from ptb_core.evaluation.checking import Runners
    from ptb_core.evaluation.scoring import data_details, score_completions
    from ptb_core.execution.stage import programs_of
    from ptb_core.grading.opening import grader_of

    generated = context.result("generate", Generated)
    if generated.state != "done" or generated.completions is None:
        return Scored(evaluation=None)
    require_unchanged(generated.completions, generated.completions_sha256)
    protocol = context.run.plan.protocol
    task = context.catalogue.task(context.cell.task)
    data = data_dir_of(context.result("prepare", Prepared))
    checks = _checks(context)
    scored = score_completions(
        task,
        samples_of(task, data, protocol.limit),
        protocol,
        generated.completions,
        Runners(programs=programs_of(context), grader=grader_of(context)),
        checks,
        details={**generated.details, **data_details(data)},
        progress=progress_of(context, "score"),
    )
    write_bytes(context.attempt_dir / "samples.jsonl", scored.lines())
    return Scored(evaluation=scored.evaluation, checks=checks if checks.exists() else None)


def _checks(context: StageContext) -> Path:
    """Return the log of checks; trying a cell again that has no score goes on with its own."""
    folder = context.folder.stage("score")
    earlier = context.earlier_attempt("score")
    if not earlier:
        return folder / "checks.jsonl"
    if context.redo is not None and context.redo.kind == "retry":
        before = read_marker(context.folder.attempt_marker("score", earlier), Scored)
        if before is not None and before.checks is not None:
            return before.checks
    return folder / f"checks-after-{earlier:03}.jsonl"


def require_unchanged(completions: Path, sha256: str) -> None:
    """Make sure that what is scored is what the checkpoint has answered.

    Args:
        completions: The log of completions.
        sha256: Its digest when it was complete; empty when nobody noted it.

    Raises:
        RecordError: If it has changed since, or cannot be read.
    """
    if sha256:
        completion_log.require_unchanged(
            completions,
            sha256,
            "restore it from a copy, or move it and the done.json beside it away and run the "
            "plan again to have it made anew",
        )
