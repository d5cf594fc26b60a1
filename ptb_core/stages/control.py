"""Whose fault it is that a checkpoint is not evaluated: its own, or that of the machine.

A checkpoint can bring a server down in more ways than any list of messages knows, and a server
that says that its checkpoint cannot be loaded may have met a fault of the machine. So what decides
is a control: when the engine blames the checkpoint, or the same stage has failed before, the base
model is served in the same way and asked some of the questions that stayed without an answer. If
that works, the checkpoint is at fault and its evaluation has failed for good; if it fails as well,
the machine is, and the stage may be repeated. So it is when the sealed files have become unreadable
or are other than they were: the base model lies elsewhere and would be served all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from ptb_core.canonical import file_sha256
from ptb_core.errors import CheckpointError, EngineError
from ptb_core.journal import read_events
from ptb_core.stages.context import Sealed, StageContext

STAGE = "generate"

MACHINE_AT_FAULT = {"at_fault": "machine"}
"""Data of the journal's note on a failure that a control has put down to the machine."""


def checkpoints_fault(
    context: StageContext,
    failure: CheckpointError | EngineError,
    ask_base_model: Callable[[], int],
) -> str | None:
    """Return why the checkpoint is at fault, or None when that is not known.

    A base cell has no control: what the engine says of the base model holds.

    Args:
        context: The stage's.
        failure: Why the evaluation of the checkpoint failed this time; a CheckpointError if the
            engine blames the checkpoint.
        ask_base_model: Serves the base model in the same way and asks it questions; returns how
            many it answered.

    Raises:
        EngineError: If the base model is not served either, or a file of the checkpoint is no
            longer what was sealed; with both reasons.
    """
    blamed = isinstance(failure, CheckpointError)
    if context.cell.kind == "base":
        return str(failure) if blamed else None
    if not blamed and not _failed_just_before(context):
        return None
    _require_as_sealed(context, failure)
    how = "the checkpoint was refused" if blamed else "failed again"
    context.note(STAGE, f"{how} ({failure}); now the base model is asked, as a control")
    try:
        answered = ask_base_model()
    except EngineError as error:
        context.note(STAGE, "the base model is not served either", MACHINE_AT_FAULT)
        raise EngineError(
            f"{failure}; the base model is not served either, so the machine is at fault: {error}"
        ) from error
    if blamed:
        return str(failure)
    return (
        f"the evaluation failed twice: {failure}; the base model, served in the same way, "
        f"answered {answered} of those questions"
    )


def _require_as_sealed(context: StageContext, failure: CheckpointError | EngineError) -> None:
    sealed = context.result("seal", Sealed)
    if sealed.path is None:
        return
    for file in sealed.files:
        path = sealed.path / file.path
        try:
            found = file_sha256(path)
        except OSError as error:
            found, words = "", f"cannot be read ({error.strerror})"
        else:
            words = f"has changed since the seal: sha256 {file.sha256[:12]} then, {found[:12]} now"
        if found != file.sha256:
            context.note(STAGE, f"{path} {words}", MACHINE_AT_FAULT)
            raise EngineError(f"{failure}; {path} {words}, so the machine is at fault")


def _failed_just_before(context: StageContext) -> bool:
    """Say whether the attempt before failed, for a reason that may have been the checkpoint."""
    events = [
        event
        for event in read_events(context.folder.journal)
        if event.stage == STAGE and event.attempt == context.attempt - 1
    ]
    machine = {event.fence for event in events if event.data == MACHINE_AT_FAULT}
    return any(event.event == "failed" and event.fence not in machine for event in events)
