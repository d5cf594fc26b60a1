"""solve where its supervisor died at a bad moment; the sandbox is a double."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_core.atomic import write_json
from ptb_core.errors import SandboxElsewhereError, SandboxLostError
from ptb_core.interfaces import Session
from ptb_core.sandboxing import ProcessHandle, SessionHandle
from ptb_core.stages import solve as solve_stage
from ptb_core.stages.context import StageContext
from ptb_core.stages.solve import OUTSIDE_WORKSPACE, LiveAgent, find_live

LIVE = LiveAgent(
    session=SessionHandle(sandbox="local", name="s", data={}),
    process=None,
    started_unix_s=1.0,
    deadline_unix_s=2.0,
    harness=(),
    prompt="",
)


class FoundSession:
    """A session that a dead supervisor left."""

    def __init__(self, started: tuple[str, ...] = (), places: Mapping[str, Path] | None = None):
        self.started, self.places, self.closed = started, places or {}, False
        self.is_elsewhere = False

    def attach(self, _handle: SessionHandle) -> FoundSession:
        if self.is_elsewhere:
            raise SandboxElsewhereError("it was opened on host x and this is y")
        return self

    def processes(self) -> tuple[ProcessHandle, ...]:
        return tuple(ProcessHandle(session="s", id=identifier) for identifier in self.started)

    def writable_places(self) -> Mapping[str, Path]:
        return self.places

    def close(self) -> None:
        self.closed = True


def context(folder: Path, session: FoundSession) -> StageContext:
    notes: list[str] = []
    sandbox = SimpleNamespace(attach=session.attach)
    plan = SimpleNamespace(sandbox=SimpleNamespace(name="local"))
    made: Any = SimpleNamespace(
        attempt_dir=folder,
        catalogue=SimpleNamespace(sandbox=lambda name: sandbox),
        run=SimpleNamespace(plan=plan),
        note=lambda stage, text: notes.append(text),
        notes=notes,
    )
    return cast(StageContext, made)


def test_an_agent_started_by_a_supervisor_that_died_at_once_is_found(tmp_path: Path) -> None:
    """It was killed between the start and the second writing of live.json."""
    session = FoundSession(started=("agent",))
    write_json(tmp_path / "live.json", LIVE)
    here = context(tmp_path, session)
    _, live = solve_stage._attach(here, LIVE)
    assert live.process == ProcessHandle(session="s", id="agent")
    assert find_live(tmp_path) == live
    assert not session.closed
    assert cast(Any, here).notes == ["attached to the agent that was already running"]


def test_a_session_in_which_no_agent_was_started_is_ended_and_the_attempt_lost(
    tmp_path: Path,
) -> None:
    session = FoundSession()
    with pytest.raises(SandboxLostError) as caught:
        solve_stage._attach(context(tmp_path, session), LIVE)
    assert str(caught.value) == "the supervisor died before the agent was started"
    assert session.closed


def test_evidence_that_was_kept_whole_survives_the_removal_of_its_place(tmp_path: Path) -> None:
    """A supervisor died while it removed the temporary folder; its successor finds the rest."""
    place = tmp_path / "tmp"
    place.mkdir()
    for name in ("kept.txt", "removed.txt"):
        (place / name).write_text(name, "utf-8")
    session = cast(Session, FoundSession(places={"tmp": place}))
    here = context(tmp_path, FoundSession())
    solve_stage._keep_other_places(here, session)
    (place / "removed.txt").unlink()
    solve_stage._keep_other_places(here, session)
    kept = tmp_path / OUTSIDE_WORKSPACE / "tmp"
    assert sorted(path.name for path in kept.iterdir()) == ["kept.txt", "removed.txt"]


def test_evidence_that_was_half_kept_is_kept_again(tmp_path: Path) -> None:
    place, outside = tmp_path / "tmp", tmp_path / OUTSIDE_WORKSPACE
    place.mkdir()
    (place / "note.txt").write_text("x", "utf-8")
    (outside / ".tmp.partial").mkdir(parents=True)
    (outside / ".tmp.partial" / "half.txt").write_text("", "utf-8")
    session = cast(Session, FoundSession(places={"tmp": place}))
    solve_stage._keep_other_places(context(tmp_path, FoundSession()), session)
    left = sorted(path.relative_to(outside).as_posix() for path in outside.rglob("*"))
    assert left == ["tmp", "tmp/note.txt"]


def test_an_agent_on_another_host_is_left_working_until_its_deadline(tmp_path: Path) -> None:
    session = FoundSession(started=("agent",))
    session.is_elsewhere = True
    here = context(tmp_path, session)
    with pytest.raises(SandboxElsewhereError):
        solve_stage._attach(here, replace(LIVE, deadline_unix_s=time.time()))
    long_ago = replace(LIVE, deadline_unix_s=time.time() - solve_stage.ELSEWHERE_S - 1)
    with pytest.raises(SandboxLostError) as caught:
        solve_stage._attach(here, long_ago)
    assert str(caught.value) == (
        "it was opened on host x and this is y; its deadline has passed and it left no seal"
    )
