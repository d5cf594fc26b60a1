"""Running commands in an opened session, for checks that hold for any sandbox."""

import os
import time
from collections.abc import Callable

from ptb_core.api import Command, ProcessStatus, Session

OpenSession = Callable[..., Session]
"""Opens a session from a request's fields; what is missing is filled in."""


class Run:
    """What a finished command left."""

    def __init__(self, session: Session, command: Command, timeout_s: float = 20) -> None:
        process = session.start(command)
        self.status: ProcessStatus = session.wait(process, timeout_s)
        assert self.status.state == "exited", "the command did not end"
        self.exit_code = self.status.exit_code
        self.stdout = session.logs(process)
        self.stderr = session.logs(process, "stderr").decode("utf-8", "replace")


def shell(session: Session, script: str, **fields: object) -> Run:
    return Run(session, Command(argv=("sh", "-c", script), **fields))


def python(code: str, *arguments: str, **fields: object) -> Command:
    return Command(argv=("python3", "-I", "-S", "-c", code, *arguments), **fields)


def eventually(holds: Callable[[], object], within_s: float = 15) -> None:
    """Look again and again until something holds."""
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.005)


TEST_RUN = os.urandom(4).hex()
"""Tells this run of the tests from others on the same machine, also interrupted ones."""


def marked(name: str) -> str:
    """Return a mark for a command's environment that no other test run uses."""
    return f"{TEST_RUN}-{name}"
