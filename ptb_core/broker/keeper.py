"""Who looks after the broker's process while the agent works."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ptb_core.broker.messages import SOCKET_NAME
from ptb_core.broker.process import FOLDER
from ptb_core.evaluation.dev_modes import is_scored_outside
from ptb_core.interfaces import Session
from ptb_core.stages.context import StageContext

SHORTEST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LASTING_S = 600.0
"""A process that lasted this long is no sign of one that ends again and again."""

NOTES_KEPT = 20
END_S = 15.0


class Keeper:
    """Keeps a process alive.

    Args:
        argv: How it is started; it has to end when its standard input does.
        output: File that its output is appended to.
        note: Told each end that was not asked for, up to ``NOTES_KEPT`` times.
    """

    def __init__(self, argv: Sequence[str], output: Path, note: Callable[[str], None]) -> None:
        self._argv, self._output, self._note = argv, output, note
        self._ends = 0
        self._pause_s = SHORTEST_PAUSE_S
        self._again_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def look(self) -> None:
        """Start the process again if it has ended; costs nothing while it lives."""
        if self._process is None:
            if time.monotonic() >= self._again_s:
                self._start()
            return
        status = self._process.poll()
        if status is None:
            return
        self._end(self._process)
        lasted_s = time.monotonic() - self._started_s
        self._pause_s = SHORTEST_PAUSE_S if lasted_s > LASTING_S else self._pause_s * 2
        self._pause_s = min(self._pause_s, LONGEST_PAUSE_S)
        self._again_s = time.monotonic() + self._pause_s
        self._process = None
        self._ends += 1
        if self._ends <= NOTES_KEPT:
            self._note(
                f"the broker of the development evaluation ended with status {status} and is "
                f"started again in {self._pause_s:g} s; its output is in {self._output}"
            )

    def close(self) -> None:
        """End the process, gently first."""
        if self._process is not None:
            self._end(self._process)

    def _start(self) -> None:
        self._started_s = time.monotonic()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def brokered(context: StageContext, session: Session) -> Iterator[Callable[[], None]]:
    """Have the completions of the session's agent scored while the block runs.

    Yields:
        What must be called now and then, so that a broker that ended is started again. It does
        nothing where the condition needs no broker.
    """
    task = context.catalogue.task(context.cell.task).spec
    if not is_scored_outside(task, context.run.plan.condition):
        yield lambda: None
        return
    folder = context.attempt_dir / FOLDER
    folder.mkdir(exist_ok=True)
    place, _ = session.socket(SOCKET_NAME)
    keeper = Keeper(
        _argv(context, place), folder / "broker.log", lambda text: context.note("solve", text)
    )
    try:
        yield keeper.look
    finally:
        keeper.close()


def _argv(context: StageContext, place: Path) -> tuple[str, ...]:
    return (
        sys.executable,
        "-P",
        "-m",
        "ptb_core.broker.process",
        str(context.run_folder.path),
        context.cell.id,
        str(context.fence),
        str(context.attempt),
        str(place),
    )
