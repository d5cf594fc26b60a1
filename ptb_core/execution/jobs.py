"""A program on its way into a sandbox, and what came of it: the launcher's job and its report."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.evaluation.checking import CheckError
from ptb_core.evaluation.checks import ProgramCheck, ProgramResult
from ptb_core.sandboxing import Limits, ProcessStatus

TAIL_CHARACTERS = 2000
_OUT_OF_MEMORY = "MemoryError"

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""What a program finds in its environment besides the sandbox's own: sets have one order, so that
an equal program ends equally, and numeric libraries keep to one thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLimits:
    """What one program may use, besides its time; the same for every program.

    Attributes:
        memory_gib: Resident memory of all its processes, and files in shared memory.
        address_gib: Address space of each process; beyond it Python raises MemoryError.
        disk_gib: Files in its folders together.
        file_gib: Largest single file.
        processes: Number of processes and threads.
        open_files: Open files of each process.
        cpu_share: Processor seconds of all its processes together, in parts of the program's
            time limit. Beyond them the program has run out of time: one that spins in many
            processes must not slow others down until they do.
    """

    memory_gib: float = 2.0
    address_gib: float = 4.0
    disk_gib: float = 1.0
    file_gib: float = 0.25
    processes: int = 64
    open_files: int = 256
    cpu_share: float = 2.0

    def of_session(self) -> Limits:
        """Return the limits that the sandbox has to keep: those of the whole session."""
        return Limits(
            memory_gib=self.memory_gib,
            disk_gib=self.disk_gib,
            file_gib=self.file_gib,
            processes=self.processes,
        )


class LauncherJob(msgspec.Struct, frozen=True, kw_only=True):
    """What the launcher is told; see :mod:`ptb_core.execution.launcher`.

    Attributes:
        key: Secret that makes a report the launcher's.
        token: Secret that only a program that ran to its end is told, or None.
        sweep: True where nobody else ends what the program leaves running.
    """

    key: str
    token: str | None
    program: str
    timeout_s: float
    address_bytes: int
    shared_bytes: int
    file_bytes: int
    cpu_s: int
    open_files: int
    processes: int
    sweep: bool


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    exit_code: int
    reason: str
    token_seen: bool
    output: str


def launcher_source() -> str:
    """Return the text of the launcher."""
    return Path(__file__).with_name("launcher.py").read_text("utf-8")


def launcher_argv(python: str) -> tuple[str, ...]:
    """Return what starts the launcher under an interpreter; no secret is in it."""
    return (python, "-I", "-S", "-c", launcher_source())


class UnreportedError(CheckError):
    """A launcher failed while its program ran: by what the program did to it, or by itself."""


def job_of(check: ProgramCheck, limits: ProgramLimits, *, sweep: bool) -> LauncherJob:
    """Return a job with secrets of its own.

    Raises:
        CheckError: If the program is no text that can be encoded.
    """
    try:
        check.program.encode()
    except UnicodeEncodeError as error:
        raise CheckError(
            f"the program of check {check.name!r} cannot be encoded as UTF-8: {error.reason} at "
            f"character {error.start}; its task must not ask for it"
        ) from error
    return LauncherJob(
        key=secrets.token_hex(16),
        token=secrets.token_hex(16) if check.wants_token else None,
        program=check.program,
        timeout_s=check.timeout_s,
        address_bytes=_bytes(limits.address_gib),
        shared_bytes=_bytes(limits.memory_gib),
        file_bytes=_bytes(limits.file_gib),
        cpu_s=math.ceil(check.timeout_s * limits.cpu_share),
        open_files=limits.open_files,
        processes=limits.processes,
        sweep=sweep,
    )


def result_of(
    job: LauncherJob, status: ProcessStatus, stdout: bytes, stderr: bytes
) -> ProgramResult:
    """Return how the program ended, from what the launcher said and how itself ended.

    A launcher that ended without a report after the program had started was ended by the program
    (it is its parent), or by the sandbox because of the program: that is the program's result.

    Raises:
        UnreportedError: If the program began and the launcher then failed.
        CheckError: If the program did not run, or was stopped for no reason of its own.
    """
    started, report = _read(job, stdout)
    if report is not None:
        return ProgramResult(
            exit_code=report.exit_code,
            reason=_reason(report),
            token_seen=report.token_seen,
            output_tail=report.output[-TAIL_CHARACTERS:],
        )
    words = stderr.decode("utf-8", "replace").strip()[-TAIL_CHARACTERS:]
    is_ended_by_program = status.reason in ("timeout", "out-of-memory", "killed") or (
        status.reason == "exit" and status.exit_code is not None and status.exit_code < 0
    )
    if not started or not is_ended_by_program:
        failure = UnreportedError if started and status.reason == "exit" else CheckError
        raise failure(
            f"its program has no result: the launcher ended ({status.reason}, exit status "
            f"{status.exit_code}) {'without a report' if started else 'before the program began'}"
            f": {words or 'it said nothing'}"
        )
    reason = "killed" if status.reason == "exit" else str(status.reason)
    return ProgramResult(exit_code=status.exit_code, reason=reason, output_tail=words)


def _read(job: LauncherJob, stdout: bytes) -> tuple[bool, _Report | None]:
    lines = stdout.splitlines()
    started = bool(lines) and lines[0] == b'{"started": true}'
    if len(lines) < 2:
        return started, None
    try:
        report = msgspec.json.decode(lines[1], type=_Report)
    except msgspec.DecodeError:
        return started, None
    return started, report if secrets.compare_digest(report.key, job.key) else None


def _reason(report: _Report) -> str:
    last_line = report.output.rstrip().rpartition("\n")[2]
    if report.reason == "exit" and report.exit_code == 1 and last_line.startswith(_OUT_OF_MEMORY):
        return "out-of-memory"
    return report.reason


def job_bytes(job: LauncherJob) -> bytes:
    """Return a job as the launcher reads it."""
    return json.dumps(msgspec.to_builtins(job)).encode()


def _bytes(gib: float) -> int:
    return int(gib * 2**30)
