"""Whose fault it is that a checkpoint is not evaluated: its own, or that of the machine.

A checkpoint can bring a server down in more ways than any list of messages knows. So what decides
is a control: when the same stage has failed before, the base model is served in the same way and
asked some of the questions that stayed without an answer. If that works, the checkpoint is at
fault and its evaluation has failed for good; if it fails as well, the machine is, and the stage
may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable

from ptb_core.errors import EngineError
from ptb_core.journal import read_events
from ptb_core.stages.context import StageContext

STAGE = "generate"


def checkpoints_fault(
    context: StageContext, failure: EngineError, ask_base_model: Callable[[], int]
) -> str | None:
    """Return why the checkpoint is at fault, or None when that is not known.

    Args:
        context: The stage's.
        failure: Why the evaluation of the checkpoint failed this time.
        ask_base_model: Serves the base model in the same way and asks it questions; returns how
            many it answered.

    Raises:
        EngineError: If the base model is not served either; with both reasons.
    """
    if context.cell.kind == "base" or not _failed_just_before(context):
        return None
    context.note(STAGE, f"failed again ({failure}); now the base model is asked, as a control")
    try:
        answered = ask_base_model()
    except EngineError as error:
        raise EngineError(
            f"{failure}; the base model is not served either, so the machine is at fault: {error}"
        ) from error
    return (
        f"the evaluation failed twice: {failure}; the base model, served in the same way, "
        f"answered {answered} of those questions"
    )


def _failed_just_before(context: StageContext) -> bool:
    return any(
        event.event == "failed" and event.stage == STAGE and event.attempt == context.attempt - 1
        for event in read_events(context.folder.journal)
    )
