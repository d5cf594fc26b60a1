"""This machine: a supervisor is a process in a session of its own.

It outlives the command line and a closed terminal. Jobs are told apart by pid and start time, so
a reused pid is never taken for a job, let alone signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping

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


class LocalExecutor(Executor):
    """Starts supervisors as background processes of this host."""

    def __init__(self, spec: ExecutorSpec) -> None:
        super().__init__(spec)
        self._own: dict[int, subprocess.Popen[bytes]] = {}

    def submit(
        self, command: CellCommand, resources: Resources, settings: Mapping[str, JsonValue]
    ) -> JobHandle:
        """Start the supervisor; ``resources`` are not reserved here, ``max_cells`` bounds them."""
        try:
            with command.log.open("ab") as log:
                process = subprocess.Popen(
                    command.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise PtbError(
                f"executor local: cannot start the supervisor of {command.cell}: {error}"
            ) from error
        self._own[process.pid] = process
        data = {"started": process_start_time(process.pid), "boot": boot_id()}
        return JobHandle(executor="local", id=str(process.pid), data=data)

    def poll(self, job: JobHandle) -> JobStatus:
        """Say whether the supervisor lives; its exit status is known to its parent only."""
        pid = int(job.id)
        if self._is_alive(pid, job):
            return JobStatus(state="running")
        own = self._own.get(pid)
        code = None if own is None else own.poll()
        return JobStatus(state="failed" if code else "ended", exit_code=code)

    def _is_alive(self, pid: int, job: JobHandle) -> bool:
        """A process of an earlier boot, or of another host that shares the run folder, is none."""
        started, boot = job.data.get("started"), job.data.get("boot")
        return boot == boot_id() and started is not None and process_start_time(pid) == started

    def cancel(self, job: JobHandle) -> None:
        """Send SIGTERM: the supervisor ends its sandbox and leaves in order."""
        if self.poll(job).state == "running":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.id), signal.SIGTERM)

    def slots(self, settings: Mapping[str, JsonValue]) -> int | None:
        """Return the setting ``max_cells``."""
        return int(settings["max_cells"])
