"""What a launcher's words and its own end mean: a result of the program, or none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ptb_core.evaluation.checking import CheckError
from ptb_core.evaluation.checks import ProgramCheck, ProgramResult
from ptb_core.execution.jobs import (
    LauncherJob,
    ProgramLimits,
    job_bytes,
    job_of,
    launcher_argv,
    result_of,
)
from ptb_core.sandboxing import Limits, ProcessStatus

CHECK = ProgramCheck(name="run", program="print('ü')", timeout_s=3.5, wants_token=True)
JOB = job_of(CHECK, ProgramLimits(), sweep=False)
STARTED = b'{"started": true}\n'
DONE = ProcessStatus(state="exited", exit_code=0, reason="exit")


def report(job: LauncherJob = JOB, **changes: object) -> bytes:
    fields = {
        "key": job.key,
        "exit_code": 0,
        "reason": "exit",
        "token_seen": True,
        "output": "hello\n",
    }
    return STARTED + json.dumps(fields | changes).encode() + b"\n"


def test_a_job_carries_the_program_its_limits_and_two_secrets() -> None:
    job = json.loads(job_bytes(JOB))
    assert (job.pop("key"), job.pop("token")) == (JOB.key, JOB.token)
    assert JOB.key != JOB.token
    assert len(JOB.key) == len(JOB.token or "") == 32
    assert job == {
        "program": "print('ü')",
        "timeout_s": 3.5,
        "address_bytes": 4 * 2**30,
        "shared_bytes": 2 * 2**30,
        "file_bytes": 2**28,
        "cpu_s": 7,
        "open_files": 256,
        "processes": 64,
        "sweep": False,
    }


def test_every_job_has_secrets_of_its_own() -> None:
    again = job_of(CHECK, ProgramLimits(), sweep=False)
    assert len({JOB.key, JOB.token, again.key, again.token}) == 4


def test_a_check_without_a_token_gets_none() -> None:
    check = ProgramCheck(name="run", program="")
    assert job_of(check, ProgramLimits(), sweep=False).token is None


def test_no_secret_is_in_the_arguments() -> None:
    arguments = " ".join(launcher_argv("python3"))
    assert JOB.key not in arguments
    assert JOB.token not in arguments
    assert len(arguments.encode()) < 100_000


def test_a_program_that_is_no_text_is_the_tasks_fault() -> None:
    check = ProgramCheck(name="run", program="x = '\ud800'")
    with pytest.raises(CheckError) as caught:
        job_of(check, ProgramLimits(), sweep=False)
    assert str(caught.value) == (
        "the program of check 'run' cannot be encoded as UTF-8: surrogates not allowed at "
        "character 5; its task must not ask for it"
    )


def test_limits_of_the_session_are_those_of_all_its_processes() -> None:
    assert ProgramLimits().of_session() == Limits(
        memory_gib=2.0, disk_gib=1.0, file_gib=0.25, processes=64
    )


def test_a_report_is_the_result() -> None:
    assert result_of(JOB, DONE, report(), b"") == ProgramResult(
        exit_code=0, reason="exit", token_seen=True, output_tail="hello\n"
    )
    found = result_of(JOB, DONE, report(exit_code=-9, reason="timeout", token_seen=False), b"")
    assert found == ProgramResult(exit_code=-9, reason="timeout", output_tail="hello\n")


def test_only_the_end_of_the_output_is_kept() -> None:
    found = result_of(JOB, DONE, report(output="a" * 5000 + "b" * 2000), b"")
    assert found.output_tail == "b" * 2000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exit_code": 1, "output": "Traceback\nMemoryError\n"}, "out-of-memory"),
        ({"exit_code": 1, "output": "Traceback\nMemoryError: no\n\n"}, "out-of-memory"),
        ({"exit_code": 0, "output": "MemoryError"}, "exit"),
        ({"exit_code": 1, "output": "MemoryError\nValueError"}, "exit"),
        ({"exit_code": -9, "reason": "killed", "output": "MemoryError"}, "killed"),
    ],
)
def test_a_memory_error_that_ends_a_program_is_told(
    changes: dict[str, object], reason: str
) -> None:
    assert result_of(JOB, DONE, report(**changes), b"").reason == reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (ProcessStatus(state="exited", exit_code=-9, reason="exit"), "killed"),
        (ProcessStatus(state="exited", exit_code=-24, reason="exit"), "killed"),
        (ProcessStatus(state="exited", exit_code=-9, reason="timeout"), "timeout"),
        (ProcessStatus(state="exited", exit_code=-9, reason="killed"), "killed"),
        (ProcessStatus(state="exited", exit_code=-9, reason="out-of-memory"), "out-of-memory"),
    ],
)
def test_a_launcher_that_the_program_or_the_sandbox_ended_makes_the_program_wrong(
    status: ProcessStatus, reason: str
) -> None:
    found = result_of(JOB, status, STARTED, b"sandbox: killed: too much\n")
    assert found == ProgramResult(
        exit_code=status.exit_code, reason=reason, output_tail="sandbox: killed: too much"
    )


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "words"),
    [
        (
            ProcessStatus(state="exited", exit_code=127, reason="exit"),
            b"",
            b"sandbox: program 'python3' was not found\n",
            "the launcher ended (exit, exit status 127) before the program began: sandbox: "
            "program 'python3' was not found",
        ),
        (
            ProcessStatus(state="exited", exit_code=-9, reason="exit"),
            b"",
            b"",
            "the launcher ended (exit, exit status -9) before the program began: it said nothing",
        ),
        (
            ProcessStatus(state="exited", exit_code=-9, reason="timeout"),
            b"",
            b"",
            "the launcher ended (timeout, exit status -9) before the program began: it said "
            "nothing",
        ),
        (
            ProcessStatus(state="exited", exit_code=1, reason="exit"),
            STARTED,
            b"Traceback\nOSError: no room",
            "the launcher ended (exit, exit status 1) without a report: Traceback\nOSError: no "
            "room",
        ),
        (
            ProcessStatus(state="exited", exit_code=-9, reason="deadline"),
            STARTED,
            b"",
            "the launcher ended (deadline, exit status -9) without a report: it said nothing",
        ),
    ],
)
def test_what_is_not_the_programs_doing_is_no_result(
    status: ProcessStatus, stdout: bytes, stderr: bytes, words: str
) -> None:
    with pytest.raises(CheckError) as caught:
        result_of(JOB, status, stdout, stderr)
    assert str(caught.value) == f"its program has no result: {words}"


@pytest.mark.parametrize(
    "stdout",
    [
        report(key="0" * 32),
        STARTED + b"no JSON\n",
        STARTED + b'{"key": "x"}\n',
        STARTED + report()[len(STARTED) : -20],
        STARTED,
        b"",
    ],
    ids=["of another key", "no JSON", "lacking fields", "cut off", "absent", "nothing at all"],
)
def test_a_report_that_is_not_the_launchers_does_not_count(stdout: bytes) -> None:
    with pytest.raises(CheckError):
        result_of(JOB, DONE, stdout, b"")


def test_a_cpu_share_below_a_second_is_a_second() -> None:
    limits = replace(ProgramLimits(), cpu_share=0.01)
    assert job_of(CHECK, limits, sweep=True).cpu_s == 1
