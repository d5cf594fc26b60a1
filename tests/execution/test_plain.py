"""Programs beside the caller: the same ends, and no process left."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ptb_core.evaluation.checking import CheckError
from ptb_core.evaluation.checks import ProgramCheck
from ptb_core.execution import plain as module
from ptb_core.execution.plain import PlainProgramRunner
from tests.execution.conftest import TIGHT, Outcomes, outcomes, result
from tests.execution.hostile_programs import BOMBS, ENDS, Program
from tests.execution.spinning_programs import (
    END_OF_FIRST_THREAD,
    SECOND,
    SPINNERS,
    TIMEOUT_S,
)
from tests.execution.test_programs import expect_end

QUICK_BOMBS = ("loops", "ends and leaves a thread", "kills its parent")


@pytest.fixture(scope="module")
def ended() -> Outcomes:
    texts = {name: program.text for name, program in ENDS.items()}
    found = outcomes(PlainProgramRunner(TIGHT), texts)
    texts = {name: BOMBS[name].text for name in QUICK_BOMBS}
    return {**found, **outcomes(PlainProgramRunner(TIGHT), texts, timeout_s=0.5)}


@pytest.mark.parametrize("name", [*ENDS, *QUICK_BOMBS])
def test_a_program_ends_as_in_a_sandbox(ended: Outcomes, name: str) -> None:
    expect_end(ended, name, (ENDS | BOMBS)[name])


@pytest.mark.slow
def test_a_bomb_of_forks_is_ended_whole() -> None:
    name = "forks without end"
    expect_end(outcomes(PlainProgramRunner(TIGHT), {name: BOMBS[name].text}), name, BOMBS[name])


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    text = (
        "import os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'],"
        " start_new_session=True)\n"
        "print(child.pid, os.getcwd())\n"
    )
    found = result(outcomes(PlainProgramRunner(TIGHT), {"leaves": text})["leaves"])
    pid, folder = found.output_tail.split()
    assert found.token_seen
    assert not Path(f"/proc/{pid}").exists()
    assert not Path(folder).exists()


def test_threads_count_also_in_a_process_whose_first_one_has_ended() -> None:
    text = (
        f"{END_OF_FIRST_THREAD}import threading, time\n"
        "if os.fork() == 0:\n"
        "    for _ in range(40): threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "    end_first_thread()\n"
        "os.wait()\n"
    )
    found = outcomes(PlainProgramRunner(TIGHT), {"threads": text}, timeout_s=30.0)
    expect_end(found, "threads", Program(text, -9, "killed"))


def test_the_environment_is_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    text = "import os; print(sorted(os.environ))"
    found = result(outcomes(PlainProgramRunner(TIGHT), {"looks": text})["looks"])
    assert found.output_tail == (
        "['CUDA_VISIBLE_DEVICES', 'HOME', 'LANG', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS', "
        "'OPENBLAS_NUM_THREADS', 'PATH', 'PYTHONHASHSEED', 'TMPDIR']\n"
    )


def test_a_python_that_cannot_be_started_is_no_wrong_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (error,) = outcomes(PlainProgramRunner(TIGHT), {"honest": "print()"}).values()
    assert isinstance(error, CheckError)
    assert str(error).startswith("its program could not be run: ")
    assert "/nowhere/python" in str(error)


@pytest.mark.slow
def test_a_program_that_stops_its_launcher_is_ended_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 1.0)
    text = "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(1000)"
    found = result(outcomes(PlainProgramRunner(TIGHT), {"stops": text}, timeout_s=0.5)["stops"])
    assert (found.exit_code, found.reason) == (-9, "timeout")


def test_a_cancelled_program_is_ended(tmp_path: Path) -> None:
    text = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(1000)\n"
    )

    async def cancelled() -> None:
        runner = PlainProgramRunner(TIGHT)
        check = ProgramCheck(name="waits", program=text, timeout_s=500)
        running = asyncio.create_task(runner.run(check))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    patience_s = time.monotonic() + 20  # the kernel sends the signal when its parent has died
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < patience_s, "the program outlived its launcher"


def test_no_folder_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcomes(PlainProgramRunner(TIGHT), {"honest": "open('x', 'w').write('y')"})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def spun() -> Outcomes:
    return outcomes(PlainProgramRunner(SECOND), SPINNERS, TIMEOUT_S)


@pytest.mark.parametrize("name", SPINNERS)
def test_the_processor_time_of_all_processes_is_bounded_together(spun: Outcomes, name: str) -> None:
    expect_end(spun, name, Program(SPINNERS[name], -9, "timeout"))
    assert result(spun[name]).output_tail == ""


def test_processes_that_keep_to_the_time_together_are_not_ended() -> None:
    text = (
        "import subprocess, sys\n"
        "spin = 'import time\\nwhile time.process_time() < 0.1: pass'\n"
        "for _ in range(2): subprocess.run([sys.executable, '-S', '-c', spin], check=True)\n"
    )
    found = outcomes(PlainProgramRunner(SECOND), {"keeps": text}, TIMEOUT_S)
    assert result(found["keeps"]).token_seen
