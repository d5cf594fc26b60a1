"""The broker's process: kept alive while the agent works, gone with its supervisor."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_core.broker import keeper as keeper_module
from ptb_core.broker.keeper import NOTES_KEPT, Keeper, brokered
from ptb_core.interfaces import Session
from ptb_core.sandboxing import Command
from ptb_core.specs import Condition
from ptb_core.stages.context import StageContext
from ptb_core.stages.solve import _with_broker

from .conftest import riddles_spec

LIVES = (sys.executable, "-c", "import sys; sys.stdin.read()")
ENDS = (sys.executable, "-c", "print('oh', flush=True); raise SystemExit(3)")


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(keeper_module, "time", clock)
    return clock


def ended(keeper: Keeper) -> None:
    """Wait until the process has ended by itself."""
    assert keeper._process is not None
    keeper._process.wait()


def test_a_process_that_ended_is_started_again_after_a_growing_pause(
    tmp_path: Path, clock: Clock
) -> None:
    notes: list[str] = []
    keeper = Keeper(ENDS, tmp_path / "log", notes.append)
    for pause in (2.0, 4.0, 8.0):
        ended(keeper)
        keeper.look()
        assert keeper._process is None
        clock.now += pause - 0.1
        keeper.look()
        assert keeper._process is None
        clock.now += 0.2
        keeper.look()
        assert keeper._process is not None
    ended(keeper)
    keeper.close()
    assert (tmp_path / "log").read_text() == "oh\n" * 4
    assert notes[0] == (
        "the broker of the development evaluation ended with status 3 and is started again in "
        f"2 s; its output is in {tmp_path / 'log'}"
    )


def test_the_pause_starts_small_again_after_a_long_life(tmp_path: Path, clock: Clock) -> None:
    keeper = Keeper(ENDS, tmp_path / "log", lambda _: None)
    keeper._pause_s = 60.0
    clock.now += keeper_module.LASTING_S + 1
    ended(keeper)
    keeper.look()
    assert keeper._pause_s == keeper_module.SHORTEST_PAUSE_S
    keeper.close()


def test_the_journal_is_not_flooded_with_ends(tmp_path: Path, clock: Clock) -> None:
    notes: list[str] = []
    keeper = Keeper(ENDS, tmp_path / "log", notes.append)
    for _ in range(NOTES_KEPT + 3):
        ended(keeper)
        keeper.look()
        clock.now += keeper_module.LONGEST_PAUSE_S
        keeper.look()
    keeper.close()
    assert len(notes) == NOTES_KEPT


def test_closing_ends_the_process(tmp_path: Path) -> None:
    keeper = Keeper(LIVES, tmp_path / "log", lambda _: None)
    process = keeper._process
    assert process is not None
    keeper.look()
    assert process.poll() is None
    keeper.close()
    assert process.returncode == 0


def test_a_process_that_does_not_want_to_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "END_S", 0.1)
    stubborn = (sys.executable, "-c", "import time; time.sleep(600)")
    keeper = Keeper(stubborn, tmp_path / "log", lambda _: None)
    process = keeper._process
    keeper.close()
    assert process is not None
    assert process.returncode == -9


def test_the_process_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """Nothing tells it; its standard input closes."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from ptb_core.broker.keeper import Keeper\n"
        f"keeper = Keeper({LIVES!r}, Path({str(tmp_path / 'log')!r}), print)\n"
        "print(keeper._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    try:
        ends = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return
    with closing_descriptor(ends):
        readable, _, _ = select.select([ends], [], [], 30)
    assert readable, "it lives on"


@contextlib.contextmanager
def closing_descriptor(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def context(tmp_path: Path, condition: Condition) -> StageContext:
    made: Any = SimpleNamespace(
        attempt_dir=tmp_path,
        attempt=1,
        fence=2,
        cell=SimpleNamespace(id="c", task="riddles"),
        catalogue=SimpleNamespace(task=lambda name: SimpleNamespace(spec=riddles_spec())),
        run=SimpleNamespace(plan=SimpleNamespace(condition=condition)),
        run_folder=SimpleNamespace(path=tmp_path / "run"),
        note=lambda stage, text: None,
    )
    return cast(StageContext, made)


class PlacedSession:
    def socket(self, name: str) -> tuple[Path, str]:
        return Path(f"/host/{name}"), f"/inside/{name}"


SESSION = cast(Session, PlacedSession())
BROKERED = Condition(hours=1, gpus=0, dev_evaluation="brokered")


def test_only_conditions_that_need_a_broker_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Started(Keeper):
        def __init__(self, argv: Any, output: Path, note: Any) -> None:
            started.append(argv)

        def look(self) -> None:
            pass

        def close(self) -> None:
            started.append("closed")

    monkeypatch.setattr(keeper_module, "Keeper", Started)
    with brokered(context(tmp_path, Condition(hours=1, gpus=0)), SESSION) as look:
        look()
    assert started == []
    assert not (tmp_path / "development").exists()
    with brokered(context(tmp_path, BROKERED), SESSION) as look:
        look()
    argv, closed = started
    assert argv[-5:] == (str(tmp_path / "run"), "c", "2", "1", "/host/broker")
    assert closed == "closed"


def test_the_agents_programs_are_told_the_socket_where_there_is_one(tmp_path: Path) -> None:
    command = Command(argv=("agent",), env={"A": "1"})
    plain = context(tmp_path, Condition(hours=1, gpus=0))
    assert _with_broker(plain, SESSION, command) == command
    told = _with_broker(context(tmp_path, BROKERED), SESSION, command)
    assert told.env == {"A": "1", "PTB_BROKER": "/inside/broker"}
