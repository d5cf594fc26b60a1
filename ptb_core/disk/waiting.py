"""A supervisor that has no room waits for it instead of failing, and says so."""

from __future__ import annotations

from ptb_core.disk.space import Need, space_at
from ptb_core.stages.context import StageContext

POLL_S = 5.0
WAITING = "waiting_for_disk"
"""Key in the data of a journal's note: true when the wait begins, false when it ends."""


def wait_for_room(context: StageContext, stage: str, need: Need) -> None:
    """Return once the run folder's disk has room for a step; at once where nobody can say.

    Raises:
        CellStoppedError: If the supervisor was asked to stop meanwhile.
        ClaimLostError: If another supervisor took the cell over meanwhile.
    """
    is_waiting = False
    while short := _shortage(context, need):
        if not is_waiting:
            text = f"waiting for disk space: {short}"
            context.note(stage, text, {WAITING: True})
            is_waiting = True
        context.stopping.wait(POLL_S)
        context.raise_if_stopping()
        context.check_claim()
    if is_waiting:
        context.note(stage, "there is disk space again", {WAITING: False})


def _shortage(context: StageContext, need: Need) -> str:
    try:
        return need.shortage(space_at(context.run_folder.path))
    except OSError:
        return ""
