"""This machine: a supervisor is a process in a session of its own.

It outlives the command line and a closed terminal. Jobs are told apart by pid and start time, so
a reused pid is never taken for a job, let alone signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from typing import TypeAlias

from ptb_core.api import (
    CellCommand,
    Executor,
    ExecutorSpec,
    JobHandle,
    JobStatus,
    JsonValue,
    PtbError,
    Resources,
    boot_id,
    process_start_time,
)

JobKey: TypeAlias = tuple[int, int]
"""Process number and start time."""


class LocalExecutor(Executor):
    """Starts supervisors as background processes of this host."""

    def __init__(self, spec: ExecutorSpec) -> None:
        super().__init__(spec)
        self._exit_codes: dict[JobKey, int] = {}

    def submit(
        self, command: CellCommand, resources: Resources, settings: Mapping[str, JsonValue]
    ) -> JobHandle:
        """Start the supervisor; ``resources`` are not reserved here, ``max_cells`` bounds them."""
        try:
            with command.log.open("ab") as log:
                pid = _spawn(command.argv, log.fileno())
        except OSError as error:
            raise PtbError(
                f"executor local: cannot start the supervisor of {command.cell}: {error}"
            ) from error
        data = {"started": process_start_time(pid), "boot": boot_id()}
        return JobHandle(executor="local", id=str(pid), data=data)

    def poll(self, job: JobHandle) -> JobStatus:
        """Say whether the supervisor lives; its exit status is known to its parent only."""
        pid, started = int(job.id), job.data.get("started")
        if job.data.get("boot") != boot_id() or started is None:
            return JobStatus(state="ended")  # of an earlier boot, or of a host that shares the run
        if process_start_time(pid) == started:
            return JobStatus(state="running")
        code = self._exit_code(pid, started)
        return JobStatus(state="failed" if code else "ended", exit_code=code)

    def _exit_code(self, pid: int, started: int) -> int | None:
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._exit_codes[pid, started] = os.waitstatus_to_exitcode(status)
        return self._exit_codes.get((pid, started))

    def cancel(self, job: JobHandle) -> None:
        """Send SIGTERM: the supervisor ends its sandbox and leaves in order."""
        if self.poll(job).state == "running":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.id), signal.SIGTERM)

    def slots(self, settings: Mapping[str, JsonValue]) -> int | None:
        """Return the setting ``max_cells``."""
        return int(settings["max_cells"])


def _spawn(argv: tuple[str, ...], log: int) -> int:
    """Start a program in a session of its own and return its process number.

    No ``subprocess.Popen``: the next one would reap a process whose object is gone, and its exit
    status with it.
    """
    return os.posix_spawnp(
        argv[0],
        argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
