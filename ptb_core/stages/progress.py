"""How far a stage is, in ``progress.json`` of its folder, for ``ptb status`` and ``ptb run``."""

from __future__ import annotations

import time
from collections.abc import Callable

from ptb_core.atomic import write_json
from ptb_core.stages.context import StageContext


def progress_of(context: StageContext, stage: str) -> Callable[[int, int], None]:
    """Return what a stage tells the numbers of things done and expected.

    It raises CellStoppedError when the supervisor was asked to stop, and ClaimLostError when
    another one took the cell over: that one may be appending to the same log.
    """
    path = context.folder.stage(stage) / "progress.json"
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        context.raise_if_stopping()
        if time.monotonic() - last > 1.0 or done == total:
            context.check_claim()
            last = time.monotonic()
            write_json(path, {"done": done, "total": total})

    return report
