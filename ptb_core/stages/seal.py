"""seal: submission and evidence are copied out of the agent's reach."""

from __future__ import annotations

import shutil
from pathlib import Path

from ptb_core.disk.needs import seal_need
from ptb_core.disk.waiting import wait_for_room
from ptb_core.errors import CheckpointError
from ptb_core.evidence import collect_workspace
from ptb_core.seal import SubmissionAbsentError, seal_submission
from ptb_core.stages.context import Prepared, Sealed, Solved, StageContext
from ptb_core.stages.solve import OUTSIDE_WORKSPACE, SUBMISSION


def seal(context: StageContext) -> Sealed:
    """Copy what counts; a refused submission is a result, not an error."""
    solved = context.result("solve", Solved)
    model = context.catalogue.model(context.cell.model)
    wait_for_room(context, "seal", seal_need(solved.seal, model))
    evidence = context.attempt_dir / "evidence"
    shutil.rmtree(evidence, ignore_errors=True)
    omitted = collect_workspace(solved.workspace, evidence / "workspace", SUBMISSION)
    elsewhere = solved.trace.parent / OUTSIDE_WORKSPACE
    if elsewhere.is_dir():
        target = evidence / "workspace" / OUTSIDE_WORKSPACE
        omitted |= {
            f"{OUTSIDE_WORKSPACE}/{path}": reason
            for path, reason in collect_workspace(elsewhere, target, SUBMISSION).items()
        }
    try:
        submission = seal_submission(
            workspace=solved.workspace,
            target=context.attempt_dir / "submission",
            frozen=solved.seal,
            base_model=context.result("prepare", Prepared).base_model,
            model=model,
        )
    except SubmissionAbsentError as error:
        return _without(evidence, omitted, "absent", error)
    except CheckpointError as error:
        return _without(evidence, omitted, "refused", error)
    return Sealed(
        state="sealed",
        reason="",
        path=submission.path,
        files=submission.files,
        notes=submission.notes,
        evidence=evidence / "workspace",
        omitted=omitted,
    )


def _without(evidence: Path, omitted: dict[str, str], state: str, error: CheckpointError) -> Sealed:
    return Sealed(
        state="absent" if state == "absent" else "refused",
        reason=str(error),
        path=None,
        files=(),
        notes=(),
        evidence=evidence / "workspace",
        omitted=omitted,
    )
