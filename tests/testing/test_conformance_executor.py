"""Executors that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from dataclasses import replace

import pytest

from ptb_core.api import (
    ExecutorSpec,
    JobHandle,
    JobStatus,
    data_dir,
    load_manifest,
    process_start_time,
)
from ptb_core.testing import ExecutorConformance
from ptb_plugins.executors.local.executor import LocalExecutor
from tests.testing.running import broken


class Waiting(LocalExecutor):
    """Runs the job before it returns."""

    def submit(self, command, resources, settings):
        folder = command.log.parent
        threading.Timer(0.3, (folder / "end").touch).start()
        job = super().submit(command, resources, settings)
        while super().poll(job).state == "running":
            pass
        return job


class Clutching(LocalExecutor):
    """Takes its jobs with it when it ends."""

    def submit(self, command, resources, settings):
        die_with_parent = ctypes.CDLL(None).prctl
        with command.log.open("ab") as log:
            process = subprocess.Popen(
                command.argv,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: die_with_parent(1, signal.SIGKILL),
            )
        started = process_start_time(process.pid)
        return JobHandle(executor="local", id=str(process.pid), data={"started": started})


class Logless(LocalExecutor):
    """Throws output away."""

    def submit(self, command, resources, settings):
        return super().submit(replace(command, log=command.log.with_name("other")), None, {})


class Overwriting(LocalExecutor):
    """Begins every log anew."""

    def submit(self, command, resources, settings):
        command.log.write_text("")
        return super().submit(command, resources, settings)


class Brutal(LocalExecutor):
    """Kills instead of asking."""

    def cancel(self, job):
        if self.poll(job).state == "running":
            os.kill(int(job.id), signal.SIGKILL)


class Raising(LocalExecutor):
    """Does not look before it signals."""

    def cancel(self, job):
        os.kill(int(job.id), signal.SIGTERM)


class Forgetful(LocalExecutor):
    """Takes every job that it does not know for one that runs."""

    def poll(self, job):
        found = super().poll(job)
        return JobStatus(state="running") if job.id == "999999999" else found


class Renaming(LocalExecutor):
    """Names another executor in its handles."""

    def submit(self, command, resources, settings):
        return replace(super().submit(command, resources, settings), executor="slurm")


class Optimistic(LocalExecutor):
    """Tells an exit code that it does not know."""

    def poll(self, job):
        found = super().poll(job)
        return found if found.state == "running" else JobStatus(state="ended", exit_code=0)


class NoSlots(LocalExecutor):
    """Places nothing, ever."""

    def slots(self, settings):
        return 0


class Vague(LocalExecutor):
    """Answers in words of its own."""

    def poll(self, job):
        found = super().poll(job)
        return replace(found, state="busy") if found.state == "running" else found


PATIENCE_S = {"test_a_job_outlives_its_submitter": 2}
"""Where a check waits in vain for what a wrong executor does not do."""

CASES = {
    "test_submit_returns_while_the_job_runs": (
        Waiting,
        "a submitted job must be queued or running; it is ",
    ),
    "test_a_job_outlives_its_submitter": (
        Clutching,
        "a job must outlive its submitter and do its work; it did not within 2 s",
    ),
    "test_the_log_is_complete": (Logless, None),
    "test_the_log_is_appended_to": (Overwriting, "a log must be kept; it begins 'started\\n"),
    "test_cancel_ends_a_job_in_order": (
        Brutal,
        "cancel() must ask a job to end in order (SIGTERM); it ended without being asked",
    ),
    "test_an_unknown_job_has_ended": (
        Forgetful,
        "a job that cannot be found must be 'ended'; it is 'running'",
    ),
    "test_its_handle_is_json": (
        Renaming,
        "the handle must name its executor 'local', not 'slurm'",
    ),
    "test_an_exit_code_that_is_told_is_the_right_one": (
        Optimistic,
        "a job that exits with 7 must be told so or not at all; told is 0",
    ),
    "test_slots_are_a_number_or_none": (NoSlots, "slots() must be 1 or more, or None; it is 0"),
    "test_a_job_runs": (
        Vague,
        "poll() must return a JobStatus of a known state; it returned JobStatus(state='busy', ",
    ),
}


@pytest.fixture(scope="module")
def spec() -> ExecutorSpec:
    return load_manifest(data_dir() / "registry" / "executors" / "local.json", ExecutorSpec)


@pytest.mark.parametrize("method", [method for method, case in CASES.items() if case[1]])
def test_a_wrong_executor_fails_with_a_sentence(method: str, spec: ExecutorSpec) -> None:
    kind, sentence = CASES[method]
    assert broken(
        ExecutorConformance, kind(spec), method, patience_s=PATIENCE_S.get(method, 10)
    ).startswith(sentence)


def test_an_executor_that_keeps_no_log_fails(spec: ExecutorSpec) -> None:
    sentence = broken(ExecutorConformance, Logless(spec), "test_the_log_is_complete")
    assert sentence == "the log must hold both streams of the job; there is no log"


def test_a_cancellation_that_raises_fails(spec: ExecutorSpec) -> None:
    sentence = broken(ExecutorConformance, Raising(spec), "test_cancel_is_idempotent")
    assert sentence.startswith("cancel() of a job that has ended must change nothing; it raised ")
