"""The executor local: supervisors are told apart by pid, start time and boot."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.interfaces import CellCommand, JobHandle, Resources
from ptb_core.processes import boot_id, process_start_time
from ptb_plugins.executors import ptb_register_executors

RESOURCES = Resources(gpus=0, cpus=1, memory_gib=1, hours=1)


def submit(tmp_path: Path, code: str) -> JobHandle:
    (executor,) = ptb_register_executors()
    command = CellCommand(cell="c", argv=(sys.executable, "-c", code), log=tmp_path / "log")
    return executor.submit(command, RESOURCES, {})


@pytest.mark.parametrize(("code", "state"), [(0, "ended"), (3, "failed")])
def test_the_parent_learns_how_its_job_ended(tmp_path: Path, code: int, state: str) -> None:
    (executor,) = ptb_register_executors()
    command = CellCommand(
        cell="c", argv=(sys.executable, "-c", f"raise SystemExit({code})"), log=tmp_path / "log"
    )
    job = executor.submit(command, RESOURCES, {})
    while (status := executor.poll(job)).state == "running":
        pass
    assert (status.state, status.exit_code) == (state, code)
    assert executor.poll(job).exit_code == code


def test_another_command_line_sees_that_a_job_runs_and_that_it_was_killed() -> None:
    (executor,) = ptb_register_executors()
    with subprocess.Popen(["sleep", "60"]) as process:
        data = {"started": process_start_time(process.pid), "boot": boot_id()}
        job = JobHandle(executor="local", id=str(process.pid), data=data)
        assert executor.poll(job).state == "running"
        process.kill()
        process.wait()
        assert executor.poll(job).state == "ended"


@pytest.mark.parametrize("data", [{"boot": "another"}, {"started": 1}, {"started": None}])
def test_a_process_that_only_has_the_number_of_a_job_is_left_alone(
    data: dict[str, object],
) -> None:
    """It has the number by chance: after a restart, or on another host."""
    (executor,) = ptb_register_executors()
    with subprocess.Popen(["sleep", "60"]) as process:
        own = {"started": process_start_time(process.pid), "boot": boot_id()}
        job = JobHandle(executor="local", id=str(process.pid), data=own)
        other = replace(job, data={**own, **data})
        assert executor.poll(other).state == "ended"
        executor.cancel(other)
        assert process.poll() is None
        executor.cancel(job)
        assert process.wait() == -15
