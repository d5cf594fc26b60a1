"""The broker's own process: what a sandbox sends can cost it memory, time or life, and nobody else.

It lives as long as its standard input is open, so it ends with the supervisor however that ends.
A later supervisor starts another on the same socket.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from ptb_core.broker.calls import CALLS, CallLog
from ptb_core.stages.context import Prepared, StageContext

FOLDER = "development"
"""Folder of the attempt for what the broker keeps."""


def main() -> None:
    """Serve until standard input ends; arguments: run, cell, fence, attempt, socket."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run, cell, fence, attempt, path = sys.argv[1:]
    serve(context_of(Path(run), cell, int(fence), int(attempt)), Path(path))


def context_of(run: Path, cell_id: str, fence: int, attempt: int) -> StageContext:
    """Return the context of a cell's solving, as its supervisor has it.

    Raises:
        PtbError: If the run cannot be read.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.run_folder import RunFolder

    run_folder = RunFolder(run)
    opened = run_folder.open()
    folder = run_folder.cell(cell_id)
    return StageContext(
        run=opened,
        run_folder=run_folder,
        folder=folder,
        cell=opened.cell(cell_id),
        catalogue=load_catalogue(),
        fence=fence,
        attempt=attempt,
        attempt_dir=folder.attempt("solve", attempt),
        check_claim=lambda: None,
        stopping=threading.Event(),
    )


def serve(context: StageContext, path: Path) -> None:
    """Answer questions about a cell's development on a socket until standard input ends.

    Raises:
        RecordError: If the log of calls is damaged.
        DataError: If the task's data cannot be read.
    """
    from ptb_core.broker.runners import runners_of
    from ptb_core.broker.scoring import Scorer
    from ptb_core.broker.server import BrokerServer
    from ptb_core.stages.prepare import data_dir_of

    folder = context.attempt_dir / FOLDER
    folder.mkdir(exist_ok=True)
    condition = context.run.plan.condition
    log = CallLog(folder / CALLS)
    scorer = Scorer(
        task=context.catalogue.task(context.cell.task),
        data=data_dir_of(context.result("prepare", Prepared)),
        protocol=context.run.plan.protocol,
        runners=lambda: runners_of(context, folder),
        folder=folder,
        log=log,
        most_calls=condition.dev_calls,
        answers_outside=condition.dev_evaluation == "brokered",
    )
    try:
        with BrokerServer(path, scorer):
            sys.stdin.buffer.read()
    finally:
        log.close()


if __name__ == "__main__":
    main()
