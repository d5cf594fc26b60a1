"""Run folders that were moved, copied or mounted elsewhere, also while their cells live."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path

import pytest

from ptb_core.api import Command, SandboxLostError, SandboxRequest
from ptb_core.atomic import write_json
from ptb_core.claims import is_alive, latest_claim, take_claim
from ptb_core.copies import is_copy
from ptb_core.driver import Job, _known_jobs
from ptb_core.errors import ClaimLostError
from ptb_core.interfaces import JobHandle
from ptb_core.journal import append_line
from ptb_core.json_codec import to_builtins
from ptb_core.run_folder import RunFolder
from ptb_core.sandboxing import SessionHandle
from ptb_core.stages.context import Generated, Recorded, StageContext
from ptb_core.stages.generate import LiveServer
from ptb_core.stages.live import read_live
from ptb_core.stages.markers import read_marker
from ptb_core.stages.solve import LiveAgent, find_live
from ptb_plugins.sandboxes import ptb_register_sandboxes

from ..core.small_run import NULL, small_run
from .conftest import Supervised, done
from .test_guardian import eventually, states_of


def answered(context: StageContext) -> Generated:
    log = context.folder.stage("generate") / "completions.jsonl"
    log.write_text("", "utf-8")
    return Generated(state="done", completions=log)


def elsewhere(supervised: Supervised, folder: Path) -> Supervised:
    return Supervised(run=RunFolder(folder), monkeypatch=supervised.monkeypatch)


# Markers --------------------------------------------------------------------------------------


def test_markers_name_no_place_outside_the_run_folder(supervised: Supervised) -> None:
    supervised.supervise(generate=answered, record=lambda c: Recorded(record=c.folder.record))
    for marker in supervised.run.path.rglob("done.json"):
        assert str(supervised.run.path) not in marker.read_text("utf-8")


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_cell_goes_on_with_its_own_files(
    supervised: Supervised, tmp_path: Path, how: object
) -> None:
    supervised.supervise(generate=answered)
    how(supervised.run.path, tmp_path / "there")  # type: ignore[operator]
    there = elsewhere(supervised, tmp_path / "there")
    seen: list[Path | None] = []

    def look(context: StageContext) -> object:
        seen.append(context.result("generate", Generated).completions)
        return done(context)

    there.supervise(generate=answered, score=look)
    assert there.calls == ["score-1"]
    assert seen == [there.folder.stage("generate") / "completions.jsonl"]


def test_paths_outside_the_run_folder_stay_absolute(supervised: Supervised, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "log"
    supervised.supervise(generate=lambda _: Generated(state="done", completions=cached))
    found = read_marker(supervised.folder.marker("generate"), Generated)
    assert found is not None
    assert found.completions == cached


def test_markers_of_older_versions_with_absolute_paths_are_read(supervised: Supervised) -> None:
    supervised.supervise(generate=answered)
    marker = supervised.folder.marker("generate")
    absolute = str(supervised.folder.stage("generate") / "completions.jsonl")
    text = marker.read_text("utf-8")
    relative = f"cells/{NULL}/stages/generate/completions.jsonl"
    assert f'"{relative}"' in text
    marker.write_text(text.replace(f'"{relative}"', f'"{absolute}"'), "utf-8")
    found = read_marker(marker, Generated)
    assert found is not None
    assert str(found.completions) == absolute


# While cells live -----------------------------------------------------------------------------


def test_a_copy_can_be_continued_while_a_supervisor_holds_the_original(
    supervised: Supervised, tmp_path: Path
) -> None:
    held = take_claim(supervised.folder.claims)
    assert held is not None
    shutil.copytree(supervised.run.path, tmp_path / "copy")
    copy = elsewhere(supervised, tmp_path / "copy")
    copied = latest_claim(copy.folder.claims)
    assert copied == held.claim
    assert not is_alive(copy.folder.claims, held.claim)
    copy.supervise(judge=done)
    held.check()
    assert is_alive(supervised.folder.claims, held.claim)
    held.release()


def test_a_supervisor_whose_folder_was_moved_stops_and_the_moved_cell_waits_for_that(
    supervised: Supervised, tmp_path: Path
) -> None:
    held = take_claim(supervised.folder.claims)
    assert held is not None
    shutil.move(supervised.run.path, tmp_path / "there")
    there = elsewhere(supervised, tmp_path / "there")
    assert take_claim(there.folder.claims) is None
    with pytest.raises(ClaimLostError):
        held.check()
    held.release()


def test_a_folder_seen_under_another_name_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "real")
    (tmp_path / "copy").mkdir()
    assert not is_copy(str(tmp_path / "real"), tmp_path / "other")
    assert not is_copy(str(tmp_path / "gone"), tmp_path / "real")
    assert not is_copy("", tmp_path / "real")
    assert is_copy(str(tmp_path / "real"), tmp_path / "copy")


def test_jobs_of_the_original_are_nobody_the_copy_could_cancel(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    job = Job(
        cell=NULL,
        handle=JobHandle(executor="local", id="7"),
        submitted_unix_s=1.0,
        folder=str(run.path),
    )
    append_line(run.jobs, json.dumps(to_builtins(job)).encode())
    shutil.copytree(run.path, tmp_path / "copy")
    assert _known_jobs(run) == {NULL: job.handle}
    assert _known_jobs(RunFolder(tmp_path / "copy")) == {}
    shutil.move(run.path, tmp_path / "there")
    assert _known_jobs(RunFolder(tmp_path / "there")) == {NULL: job.handle}


# Agents ---------------------------------------------------------------------------------------


@pytest.fixture
def live_session(supervised: Supervised):  # type: ignore[no-untyped-def]
    """A real session in the cell's first attempt, with a command at work; its token too."""
    attempt = supervised.folder.attempt("solve", 1)
    attempt.mkdir(parents=True)
    sandbox = next(iter(ptb_register_sandboxes()))
    session = sandbox.open(
        SandboxRequest(
            name=f"moved-{secrets.token_hex(4)}",
            role="solve",
            root=attempt / "sandbox",
            settings={"isolation": "none"},
            deadline_unix_s=time.time() + 60,
        )
    )
    token = secrets.token_hex(8)
    process = session.start(Command(argv=("sleep", "60"), env={"TOKEN": token}))
    live = LiveAgent(
        session=session.handle,
        process=process,
        started_unix_s=time.time(),
        deadline_unix_s=time.time() + 60,
        harness=(),
        prompt="",
        folder=str(attempt),
    )
    write_json(attempt / "live.json", live)
    yield sandbox, session, token
    session.close()


def test_a_copy_leaves_the_originals_agent_alone(  # type: ignore[no-untyped-def]
    supervised: Supervised, tmp_path: Path, live_session
) -> None:
    _, _, token = live_session
    shutil.copytree(supervised.run.path, tmp_path / "copy")
    copy = elsewhere(supervised, tmp_path / "copy")
    assert find_live(supervised.folder.attempt("solve", 1)) is not None
    assert find_live(copy.folder.attempt("solve", 1)) is None
    copy.supervise(solve=done)
    assert copy.calls == ["solve-2"], "from nothing: the agent is the original's"
    assert states_of(token)


def test_the_agent_of_a_moved_run_is_ended_before_another_begins(  # type: ignore[no-untyped-def]
    supervised: Supervised, tmp_path: Path, live_session
) -> None:
    sandbox, session, token = live_session
    shutil.move(supervised.run.path, tmp_path / "there")
    live = find_live(elsewhere(supervised, tmp_path / "there").folder.attempt("solve", 1))
    assert live is not None
    with pytest.raises(SandboxLostError) as caught:
        sandbox.attach(live.session)
    assert str(caught.value) == (
        f"sandbox local: session {session.handle.name!r} is lost: its control folder "
        f"{supervised.folder.attempt('solve', 1)}/sandbox/control is gone, as after moving a run "
        "folder; what ran inside was killed"
    )
    eventually(lambda: not states_of(token))


def test_a_copy_does_not_end_the_server_of_the_original(
    supervised: Supervised, tmp_path: Path
) -> None:
    stage = supervised.folder.stage("generate")
    stage.mkdir(parents=True)
    session = SessionHandle(sandbox="local", name="s", data={})
    write_json(stage / "live.json", LiveServer(session=session, folder=str(stage)))
    shutil.copytree(supervised.run.path, tmp_path / "copy")
    there = RunFolder(tmp_path / "copy").cell(NULL).stage("generate")
    assert read_live(stage / "live.json", LiveServer, "server") is not None
    assert read_live(there / "live.json", LiveServer, "server") is None
