"""Programs beside the caller, for a caller that is in a sandbox already.

The development evaluation in an agent's workspace uses it: the agent may run anything there
anyway. The same launcher gives the same limits and the same results; nothing else is separated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ptb_core.evaluation.checking import CheckError, ProgramRunner
from ptb_core.evaluation.checks import ProgramCheck, ProgramResult
from ptb_core.execution.jobs import (
    ENVIRONMENT,
    ProgramLimits,
    job_bytes,
    job_of,
    launcher_argv,
    result_of,
)
from ptb_core.sandboxing import ProcessStatus

GRACE_S = 15.0
"""Seconds beyond a program's time until its launcher is killed."""


class PlainProgramRunner(ProgramRunner):
    """Runs programs as child processes of this one, in an empty folder each.

    A program that kills its launcher may leave processes behind; a sandbox around the caller is
    what ends them.

    Args:
        limits: What each program may use.
        max_in_flight: Programs at a time; None takes the number of processors.
    """

    def __init__(
        self, limits: ProgramLimits | None = None, max_in_flight: int | None = None
    ) -> None:
        self.max_in_flight = max_in_flight or len(os.sched_getaffinity(0))
        self._limits = limits or ProgramLimits()

    async def run(self, check: ProgramCheck) -> ProgramResult:
        """Return how the program ended.

        Raises:
            CheckError: If it could not be run, for a reason that is not the program's.
        """
        job = job_of(check, self._limits, sweep=True)
        with tempfile.TemporaryDirectory(prefix="ptb-", ignore_cleanup_errors=True) as folder:
            try:
                launcher = await asyncio.create_subprocess_exec(
                    *launcher_argv(sys.executable),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    cwd=folder,
                    env=_environment(Path(folder)),
                    start_new_session=True,
                )
            except OSError as error:
                raise CheckError(f"its program could not be run: {error}") from error
            reason = "exit"
            try:
                async with asyncio.timeout(check.timeout_s + GRACE_S):
                    stdout, stderr = await launcher.communicate(job_bytes(job))
            except TimeoutError:
                reason, stdout, stderr = "timeout", b'{"started": true}\n', b""
            finally:
                await _end(launcher)
            status = ProcessStatus(
                state="exited",
                exit_code=launcher.returncode,
                reason="timeout" if reason == "timeout" else "exit",
            )
            return result_of(job, status, stdout, stderr)


def _environment(folder: Path) -> Mapping[str, str]:
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "",
        **ENVIRONMENT,
    }


async def _end(launcher: asyncio.subprocess.Process) -> None:
    """End a launcher that still runs; its program dies with it."""
    if launcher.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)
    await launcher.wait()
