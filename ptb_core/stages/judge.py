"""judge: every judge of the plan looks at the evidence; fail-closed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ptb_core.broker.calls import read_calls, use_of
from ptb_core.canonical import short_hash
from ptb_core.damage import read_stored
from ptb_core.disk.faults import disk_fault
from ptb_core.errors import RecordError
from ptb_core.integrity import DevelopmentUse, Evidence, Verdict, combine
from ptb_core.retention.notes import omissions, refuse_removed_checkpoint
from ptb_core.specs import ComponentChoice
from ptb_core.stages.context import Judged, Prepared, Sealed, Solved, StageContext
from ptb_core.stages.prepare import data_dir_of
from ptb_core.traces import Trace

NEUTRAL_PREFIX = "ptb-evidence-"
"""How the temporary folders begin through which judges see the evidence."""


def judge(context: StageContext) -> Judged:
    """Ask all judges; one that raises counts as inconclusive.

    Raises:
        OSError: If the disk is full or failing: nobody has looked then, and the stage is repeated.
    """
    with _neutral_folder(context) as neutral:
        evidence = assemble_evidence(context, neutral)
        verdicts = tuple(_ask(context, choice, evidence) for choice in context.run.plan.judges)
    return Judged(outcome=combine(verdicts), verdicts=verdicts)


@contextlib.contextmanager
def _neutral_folder(context: StageContext) -> Iterator[Path]:
    """Make an empty private folder; one that a killed supervisor of this cell left is removed.

    Its name follows from run and cell, so that it is found again, and tells neither.
    """
    name = short_hash([context.run.run_id, str(context.run_folder.path), context.cell.id])
    folder = Path(tempfile.gettempdir()) / f"{NEUTRAL_PREFIX}{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def assemble_evidence(context: StageContext, neutral: Path) -> Evidence:
    """Return all that judges may look at; nothing in it says which program was the agent.

    Args:
        context: The stage's context.
        neutral: Empty folder for links, because the cell's own paths carry the agent's name.

    Raises:
        RemovedError: If the submission was removed to free the disk.
    """
    refuse_removed_checkpoint(context.folder)
    prepared = context.result("prepare", Prepared)
    solved = context.result("solve", Solved)
    sealed = context.result("seal", Sealed)
    task = context.catalogue.task(context.cell.task)
    model = context.catalogue.model(context.cell.model)
    return Evidence(
        task=task.spec,
        model=model,
        condition=context.run.plan.condition,
        workspace=_linked(neutral / "workspace", sealed.evidence),
        submission=_linked(neutral / "submission", sealed.path) if sealed.path else None,
        base_model=prepared.base_model,
        harness=solved.harness,
        test_items=tuple(task.contamination_items(data_dir_of(prepared))),
        trace=_trace(solved.trace),
        declared_template=Path(model.chat_template).read_text("utf-8"),
        omitted={**sealed.omitted, **omissions(context.folder)},
        development=_development(solved.development),
    )


def _trace(path: Path) -> Trace:
    remedy = "restore it from a copy: the agent's own story cannot be told again"
    trace = read_stored(path, Trace, remedy)
    if trace is None:
        raise RecordError(f"{path} is gone; {remedy}")
    return trace


def _development(path: Path | None) -> DevelopmentUse | None:
    return None if path is None else use_of(read_calls(path))


def _linked(link: Path, target: Path) -> Path:
    link.symlink_to(target, target_is_directory=True)
    return link


def _ask(context: StageContext, choice: ComponentChoice, evidence: Evidence) -> Verdict:
    component = context.catalogue.judge(choice.name)
    try:
        return component.judge(evidence, choice.settings)
    except Exception as error:
        if disk_fault(error) is not None:
            raise  # says nothing about the evidence
        context.note("judge", f"judge {choice.name} failed: {type(error).__name__}: {error}")
        return Verdict(
            judge=choice.name,
            version=component.spec.version,
            outcome="inconclusive",
            notes=(f"the judge failed with {type(error).__name__}: {error}",),
        )
