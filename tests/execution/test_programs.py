"""Programs in sandboxes: how each ends, what it sees, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.errors import SandboxError
from ptb_core.evaluation.checking import CheckError, StopCheckingError
from ptb_core.evaluation.checks import ProgramCheck, ProgramResult
from ptb_core.execution import programs as module
from ptb_core.execution.jobs import UnreportedError
from ptb_core.execution.programs import SandboxProgramRunner
from ptb_core.interfaces import Sandbox
from ptb_core.processes import process_start_time
from ptb_core.sandboxing import SandboxRequest
from tests.execution.conftest import (
    Outcomes,
    in_sandboxes,
    needs_bubblewrap,
    outcomes,
    place_of,
    result,
)
from tests.execution.hostile_programs import BOMBS, ENDS, HONEST, SEES, Program
from tests.execution.spinning_programs import SECOND, SPINNERS, TIMEOUT_S

SECRET = "sk-of-the-supervisor"


def expect_end(found: Outcomes, name: str, program: Program) -> None:
    ended = result(found[name])
    assert ended.reason in program.reason.split(" or "), ended
    assert ended.exit_code == program.exit_code, ended
    assert ended.token_seen == program.token_seen, ended
    assert program.says in ended.output_tail, ended


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    texts = {name: program.text for name, program in ENDS.items()}
    return in_sandboxes(tmp_path_factory.mktemp("ends"), texts)


@pytest.mark.parametrize("name", ENDS)
def test_a_program_ends_as_it_is_told(ended: Outcomes, name: str) -> None:
    expect_end(ended, name, ENDS[name])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", SECRET)
        texts = {name: text for name, (text, _) in SEES.items()}
        yield in_sandboxes(tmp_path_factory.mktemp("sees"), texts)


@pytest.mark.parametrize("name", [name for name, (_, says) in SEES.items() if says is not None])
def test_a_program_sees_nothing_it_must_not(seen: Outcomes, name: str) -> None:
    assert result(seen[name]).output_tail == SEES[name][1]


def test_no_key_of_the_supervisor_and_no_hidden_file_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "answers.jsonl").write_text("the answers", "utf-8")
    looks = (
        "import os, pathlib\n"
        f"print({SECRET!r} in repr(os.environ), os.listdir({str(tmp_path / 'run')!r}))\n"
        f"print(pathlib.Path({str(tmp_path / 'run' / 'answers.jsonl')!r}).exists())\n"
    )
    found = in_sandboxes(tmp_path, {"looks": looks}, hidden=(tmp_path / "run",))
    assert result(found["looks"]).output_tail == "False []\nFalse\n"


def test_a_hash_seed_gives_sets_one_order_in_every_run(seen: Outcomes, tmp_path: Path) -> None:
    again = in_sandboxes(tmp_path, {"again": SEES["sets in one order"][0]})
    assert result(again["again"]).output_tail == result(seen["sets in one order"]).output_tail


def test_nothing_of_a_program_meets_the_next_one(tmp_path: Path) -> None:
    leaves = (
        "import os, pathlib, subprocess, sys, threading\n"
        "for place in ('.', os.environ['HOME'], '/tmp', '/dev/shm', '/run/ptb'):\n"
        "    pathlib.Path(place, 'left').write_text('here')\n"
        "subprocess.Popen([sys.executable, '-c', 'while True: pass'], start_new_session=True)\n"
    )
    finds = (
        "import os, pathlib\n"
        "places = ('.', os.environ['HOME'], '/tmp', '/dev/shm', '/run/ptb')\n"
        "print([place for place in places if pathlib.Path(place, 'left').exists()])\n"
        "print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 8)\n"
    )
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path), max_in_flight=1)
    found = outcomes(runner, {"leaves": leaves, "finds": finds})
    assert result(found["leaves"]).token_seen
    assert result(found["finds"]).output_tail == "[]\nTrue\n"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    root = tmp_path_factory.mktemp("bombs")
    texts = {name: program.text for name, program in BOMBS.items()}
    quick = ("loops", "kills its parent", "ends and leaves a thread")
    return {
        **in_sandboxes(root, {name: texts.pop(name) for name in quick}, timeout_s=1.0),
        **in_sandboxes(root, texts, timeout_s=8.0),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_program_that_would_not_end_is_ended(bombed: Outcomes, name: str) -> None:
    expect_end(bombed, name, BOMBS[name])


def test_endless_programs_and_killed_parents_are_wrong_and_no_failures(tmp_path: Path) -> None:
    quick = {name: BOMBS[name] for name in ("loops", "kills its parent")}
    found = in_sandboxes(tmp_path, {n: p.text for n, p in quick.items()}, timeout_s=0.5)
    for name, program in quick.items():
        expect_end(found, name, program)


def test_the_processor_time_of_all_processes_is_bounded_together(tmp_path: Path) -> None:
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path, limits=SECOND))
    name = "many at once"
    found = outcomes(runner, {name: SPINNERS[name]}, TIMEOUT_S)
    expect_end(found, name, Program(SPINNERS[name], -9, "timeout"))
    assert result(found[name]).output_tail == ""


@pytest.mark.slow
def test_a_program_that_stops_its_launcher_runs_into_the_sandboxes_own_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 2.0)
    text = "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(1000)"
    found = in_sandboxes(tmp_path, {"stops": text}, timeout_s=1.0)
    expect_end(found, "stops", Program(text, -9, "timeout"))


def test_facts_tell_python_limits_and_what_separates(tmp_path: Path) -> None:
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path), max_in_flight=3)
    assert runner.facts() == {}
    outcomes(runner, {"honest": HONEST})
    facts = runner.facts()
    assert str(facts["python"]).count(".") == 2
    assert facts["limits"]["memory_gib"] == 0.25  # type: ignore[index]
    assert facts["environment"]["PYTHONHASHSEED"] == "0"  # type: ignore[index]
    assert facts["at_once"] == 3
    assert facts["sandbox"]["isolation"] == "bwrap"  # type: ignore[index]
    assert set(facts) == {
        *("python", "implementation", "executable", "packages"),
        *("limits", "environment", "at_once", "sandbox"),
    }


def test_a_runner_may_be_entered_again(tmp_path: Path) -> None:
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path))
    first, second = (outcomes(runner, {"honest": HONEST})["honest"] for _ in range(2))
    assert result(first) == result(second)
    assert result(second).token_seen


def test_nothing_runs_where_nothing_separates(tmp_path: Path) -> None:
    place = place_of(tmp_path, isolation="none")
    found = outcomes(SandboxProgramRunner(place), {"honest": HONEST, "another": HONEST})
    for error in found.values():
        assert isinstance(error, StopCheckingError)
        assert str(error).startswith(
            "sandbox 'local' runs no programs: programs that a model wrote run only where a "
            "sandbox separates them from this host and its network; sandbox 'local' gives "
            "isolation 'none': process tree of the host's user"
        )


class Failing(Sandbox):
    """Opens the sessions of another sandbox, but not from the ``good``-th on."""

    def __init__(self, inner: Sandbox, good: int) -> None:
        super().__init__(inner.spec)
        self.inner, self.left = inner, good

    def open(self, request: SandboxRequest):  # type: ignore[no-untyped-def]
        if self.left <= 0:
            raise SandboxError("there is no room")
        self.left -= 1
        return self.inner.open(request)

    def attach(self, handle):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_a_sandbox_that_cannot_be_opened_is_no_wrong_answer(tmp_path: Path) -> None:
    needs_bubblewrap()
    place = place_of(tmp_path)
    place = replace(place, sandbox=Failing(place.sandbox, good=2))
    found = outcomes(SandboxProgramRunner(place, max_in_flight=1), {"one": HONEST, "two": HONEST})
    assert result(found["one"]).token_seen
    assert isinstance(found["two"], CheckError)
    assert not isinstance(found["two"], StopCheckingError)
    assert str(found["two"]) == "its program could not be run: there is no room"


def test_a_sandbox_that_never_opens_stops_all_programs(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    place = replace(place, sandbox=Failing(place.sandbox, good=0))
    (error,) = outcomes(SandboxProgramRunner(place), {"one": HONEST}).values()
    assert isinstance(error, StopCheckingError)
    assert str(error) == (
        "sandbox 'local' runs no programs: its program could not be run: there is no room"
    )


def test_a_sandbox_in_which_programs_do_not_reach_their_end_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_bubblewrap()
    monkeypatch.setattr(module, "PROBE", "print('no end'); raise SystemExit(0)")
    (error,) = outcomes(SandboxProgramRunner(place_of(tmp_path)), {"one": HONEST}).values()
    assert isinstance(error, StopCheckingError)
    assert "a program that only names its Python ended with exit, exit status 0: no end" in str(
        error
    )


def test_what_the_sandboxes_python_prints_by_itself_hides_no_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_bubblewrap()
    noise = (
        "import atexit, sys\n"
        "print('{\"python\": 3}'); sys.stderr.write('sitecustomize: hello'); sys.stderr.flush()\n"
        "atexit.register(print, 'null\\n[]\\nbye')\n"
    )
    quiet, noisy = (SandboxProgramRunner(place_of(tmp_path)) for _ in range(2))
    outcomes(quiet, {"honest": HONEST})
    monkeypatch.setattr(module, "PROBE", noise + module.PROBE)
    assert result(outcomes(noisy, {"honest": HONEST})["honest"]).token_seen
    assert {name: noisy.facts()[name] for name in ("python", "executable", "packages")} == {
        name: quiet.facts()[name] for name in ("python", "executable", "packages")
    }


def test_a_sandbox_whose_python_is_not_named_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_bubblewrap()
    monkeypatch.setattr(module, "PROBE", 'print(\'{"python": "3.11"\')')
    (error,) = outcomes(SandboxProgramRunner(place_of(tmp_path)), {"one": HONEST}).values()
    assert isinstance(error, StopCheckingError)
    assert str(error) == (
        "sandbox 'local' runs no programs: a program that names its Python ended well, but no "
        "line that it wrote does so; what its Python prints by itself must not hide it: "
        '{"python": "3.11"\n'
    )


def test_a_scoring_that_is_stopped_ends_its_programs_and_leaves_nothing(tmp_path: Path) -> None:
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path))
    waiting = ProgramCheck(name="waits", program="import time; time.sleep(1000)", timeout_s=500)

    async def stopped() -> None:
        async with runner:
            await runner.run(ProgramCheck(name="honest", program=HONEST))
            running = asyncio.create_task(runner.run(waiting))
            while not list((tmp_path / "programs").glob("*/control/processes/*/stdout")):
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(stopped())
    assert list(tmp_path.iterdir()) == []


def test_leaving_ends_what_nobody_cancelled(tmp_path: Path) -> None:
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path))
    waiting = ProgramCheck(name="waits", program="import time; time.sleep(1000)", timeout_s=500)

    async def left() -> BaseException | None:
        async with runner:
            await runner.run(ProgramCheck(name="honest", program=HONEST))
            running = asyncio.create_task(runner.run(waiting))
            while not list((tmp_path / "programs").glob("*/control/processes/*/stdout")):
                await asyncio.sleep(0.01)
        return (await asyncio.gather(running, return_exceptions=True))[0]  # type: ignore[return-value]

    assert str(asyncio.run(left())) == "its program was stopped with the scoring"
    assert list(tmp_path.iterdir()) == []


ORPHANING = """\
import asyncio, sys
from pathlib import Path
from ptb_core.evaluation.checks import ProgramCheck
from ptb_core.execution import programs
from tests.execution.conftest import place_of

programs.ORPHAN_S = 1.0
runner = programs.SandboxProgramRunner(place_of(Path(sys.argv[1])))
check = ProgramCheck(name="waits", program="import time; time.sleep(1000)", timeout_s=2.0)
programs.GRACE_S = 500.0
programs.launcher_argv = lambda python: (python, "-c", "import time; time.sleep(1000)")
asyncio.run(runner._in_thread(check))
"""


@pytest.mark.slow
def test_a_program_whose_runner_was_killed_ends_at_its_sessions_own_deadline(
    tmp_path: Path,
) -> None:
    needs_bubblewrap()
    runner = subprocess.Popen([sys.executable, "-c", ORPHANING, str(tmp_path)])
    status = started_command(tmp_path / "programs")
    runner.kill()
    runner.wait()
    processes = json.loads(status.read_bytes())["processes"]
    assert processes
    patience_s = time.monotonic() + 60
    while any(process_start_time(pid) == start for pid, start in processes):
        assert time.monotonic() < patience_s, "the program outlived its session's deadline"
        time.sleep(0.05)


def started_command(sessions: Path) -> Path:
    """Wait until the status of a command names its processes; return the status's file."""
    patience_s = time.monotonic() + 60
    while time.monotonic() < patience_s:
        for path in sessions.glob("*/control/processes/*/status.json"):
            if len(json.loads(path.read_bytes())["processes"]) == 2:
                return path
        time.sleep(0.01)
    raise AssertionError("no command was started")


BREAKS_ITS_LAUNCHER = """\
import os, resource, time
resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))
resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (0, 0))
"""


def test_a_program_that_breaks_its_launcher_is_wrong_and_not_without_result(
    tmp_path: Path,
) -> None:
    """Else a model could keep its own evaluation from ever being complete."""
    found = in_sandboxes(tmp_path, {"breaks": BREAKS_ITS_LAUNCHER, "honest": HONEST})
    broken = result(found["breaks"])
    assert (broken.exit_code, broken.reason, broken.token_seen) == (None, "killed", False)
    assert "the launcher ended (exit, exit status 1) without a report" in broken.output_tail
    assert result(found["honest"]).token_seen


def test_a_launcher_that_fails_where_no_program_runs_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_bubblewrap()
    runner = SandboxProgramRunner(place_of(tmp_path), max_in_flight=1)
    calls = []

    async def failing(check: ProgramCheck) -> ProgramResult:
        calls.append(check.name)
        if len(calls) == 1:
            return await real(check)
        raise UnreportedError("its program has no result: the disk is full")

    real = runner._in_thread
    monkeypatch.setattr(runner, "_in_thread", failing)
    (error,) = outcomes(runner, {"one": HONEST}).values()
    assert isinstance(error, StopCheckingError)
    assert str(error) == (
        "sandbox 'local' runs no programs: its program has no result: the disk is full"
    )
    assert calls == ["probe", "one", "probe"]


def test_as_many_run_at_a_time_as_there_are_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3, 4})
    assert SandboxProgramRunner(place_of(tmp_path)).max_in_flight == 5
