"""The supervisor's own logic: markers, attempts, retries, stopping, taking over.

The stages are replaced by small functions here; the real ones run in tests/test_end_to_end.py.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ptb_core import supervisor
from ptb_core.atomic import write_json
from ptb_core.catalogue import load_catalogue
from ptb_core.claims import HeldClaim, take_claim
from ptb_core.errors import (
    ClaimLostError,
    EngineError,
    RecordError,
    SandboxElsewhereError,
    UsageError,
)
from ptb_core.integrity import Verdict
from ptb_core.journal import append_event, read_events
from ptb_core.plan import load_plan
from ptb_core.record_store import read_record
from ptb_core.run_folder import Run, RunFolder
from ptb_core.sandboxing import SessionHandle
from ptb_core.stages.context import CellStoppedError, Judged, StageContext
from ptb_core.stages.markers import read_marker, read_marker_head
from ptb_core.stages.solve import LiveAgent
from ptb_core.status import cell_status, describe_status
from ptb_core.supervisor import CellRun, Stage, StageFailedError, stages_of

from ..plan.conftest import PLAN

CELL = "errands--tiny-qwen3--null--r1"


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "agent.py").write_text("", "utf-8")
    (tmp_path / "plan.json").write_text(json.dumps(PLAN), "utf-8")
    folder = RunFolder(tmp_path / "run")
    folder.create(load_plan(tmp_path / "plan.json", load_catalogue()), {})
    return folder


class World:
    """A cell whose stages are given by the test."""

    def __init__(self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.run: Run = folder.open()
        self.stopping = threading.Event()
        self.calls: list[str] = []
        self._monkeypatch = monkeypatch

    def stages(self, **functions: Callable[[StageContext], object]) -> None:
        made = tuple(
            Stage(name=name, run=self._counted(name, function), attempts=2)
            for name, function in functions.items()
        )
        self._monkeypatch.setattr(supervisor, "STAGES", made)

    def stage(self, stage: Stage) -> None:
        self._monkeypatch.setattr(supervisor, "STAGES", (stage,))

    def go(self) -> None:
        cell = self.folder.cell(CELL)
        cell.path.mkdir(parents=True, exist_ok=True)
        held = take_claim(cell.claims)
        assert held is not None
        try:
            self.cell_run(held).to_the_end()
        finally:
            held.release()

    def cell_run(self, held: HeldClaim) -> CellRun:
        cell = self.run.cell(CELL)
        return CellRun(self.folder, self.run, cell, load_catalogue(), held, self.stopping)

    def events(self) -> list[tuple[str, str, int]]:
        events = read_events(self.folder.cell(CELL).journal)
        return [(event.event, event.stage, event.attempt) for event in events]

    def _counted(
        self, name: str, function: Callable[[StageContext], object]
    ) -> Callable[[StageContext], object]:
        def counted(context: StageContext) -> object:
            self.calls.append(f"{name}-{context.attempt}")
            return function(context)

        return counted


@pytest.fixture
def world(run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(run_folder, monkeypatch)


def done(_context: StageContext) -> Judged:
    return Judged(outcome="clean", verdicts=())


def failing(_context: StageContext) -> object:
    raise EngineError("the server died: out of memory")


def test_stages_run_once_and_leave_markers(world: World) -> None:
    world.stages(prepare=done, judge=done)
    world.go()
    world.go()
    assert world.calls == ["prepare-1", "judge-1"]
    marker = world.folder.cell(CELL).marker("judge")
    assert read_marker(marker, Judged) == Judged(outcome="clean", verdicts=())


def test_a_failed_attempt_is_kept_and_tried_again(world: World) -> None:
    answers = [failing, done]
    world.stages(prepare=lambda context: answers.pop(0)(context))
    world.go()
    assert world.calls == ["prepare-1", "prepare-2"]
    assert world.events() == [
        ("started", "prepare", 1),
        ("failed", "prepare", 1),
        ("started", "prepare", 2),
        ("done", "prepare", 2),
    ]
    assert world.folder.cell(CELL).attempt("prepare", 1).is_dir()


def test_a_stage_that_keeps_failing_makes_the_cell_missing_with_the_reason(world: World) -> None:
    world.stages(judge=done, generate=failing)
    with pytest.raises(StageFailedError, match=r"r1: stage generate failed: the server died"):
        world.go()
    record = read_record(world.folder.cell(CELL).record)
    assert record.counts == "missing"
    assert record.reason == "stage generate failed: the server died: out of memory"
    assert record.own_score is None
    assert [a.outcome for a in record.attempts] == ["done", "failed", "failed"]
    assert record.verdict == "clean"
    status = cell_status(world.folder, world.run.cell(CELL))
    assert status.stage == "failed"
    assert not status.is_recorded
    assert describe_status(status).startswith("failed: stage generate failed: the server died")


def test_the_next_run_starts_at_the_failed_stage(world: World) -> None:
    world.stages(prepare=done, generate=failing)
    with pytest.raises(StageFailedError):
        world.go()
    world.stages(prepare=done, generate=done)
    world.go()
    assert world.calls == ["prepare-1", "generate-1", "generate-2", "generate-3"]


def test_an_unexpected_exception_is_a_failed_attempt_with_its_type(world: World) -> None:
    def broken(_context: StageContext) -> object:
        raise ZeroDivisionError("division by zero")

    world.stages(prepare=broken)
    with pytest.raises(StageFailedError, match=r"ZeroDivisionError: division by zero"):
        world.go()


def test_a_stopped_cell_keeps_what_is_done_and_can_go_on(world: World) -> None:
    def stop(context: StageContext) -> object:
        world.stopping.set()
        context.raise_if_stopping()
        return done(context)

    world.stages(prepare=done, solve=stop)
    with pytest.raises(CellStoppedError, match=r"was stopped; `ptb run` continues it"):
        world.go()
    assert ("abandoned", "solve", 1) in world.events()
    world.stopping.clear()
    world.stages(prepare=done, solve=done)
    world.go()
    assert world.calls == ["prepare-1", "solve-1", "solve-2"]


def test_a_supervisor_that_lost_its_claim_writes_no_marker(world: World) -> None:
    cell = world.folder.cell(CELL)
    cell.path.mkdir(parents=True)
    held = take_claim(cell.claims)
    assert held is not None

    def overtaken(context: StageContext) -> object:
        held.release()
        second = take_claim(cell.claims)
        assert second is not None
        second.release()
        return done(context)

    world.stages(prepare=overtaken)
    with pytest.raises(ClaimLostError, match="claim 1 was lost"):
        world.cell_run(held).to_the_end()
    assert not cell.marker("prepare").exists()


def test_a_damaged_marker_is_named_and_nothing_is_guessed(world: World) -> None:
    world.stages(prepare=done)
    world.go()
    marker = world.folder.cell(CELL).marker("prepare")
    marker.write_bytes(marker.read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"done\.json is damaged .*; remove it and run the plan"):
        world.go()


def test_a_cell_held_by_a_living_supervisor_is_refused(run_folder: RunFolder) -> None:
    cell = run_folder.cell(CELL)
    cell.path.mkdir(parents=True)
    held = take_claim(cell.claims)
    assert held is not None
    with pytest.raises(UsageError, match=r"is held by another supervisor that is alive"):
        supervisor.supervise(run_folder, CELL)
    held.release()


def test_a_stage_is_tried_as_often_as_it_may_be(world: World) -> None:
    answers = [failing, failing, done]
    stage = Stage(name="generate", run=lambda context: answers.pop(0)(context), attempts=3)
    world.stage(stage)
    world.go()
    assert [event for event in world.events() if event[0] != "started"] == [
        ("failed", "generate", 1),
        ("failed", "generate", 2),
        ("done", "generate", 3),
    ]


def test_every_stage_may_fail_once_and_generation_twice() -> None:
    assert [(stage.name, stage.attempts) for stage in supervisor.STAGES] == [
        ("prepare", 2),
        ("solve", 2),
        ("seal", 2),
        ("generate", 3),
        ("score", 2),
        ("judge", 2),
        ("record", 2),
    ]


def test_a_base_cell_has_no_agent_to_wait_for_and_nothing_to_judge(world: World) -> None:
    base = world.run.cell("errands--tiny-qwen3--base")
    assert [stage.name for stage in stages_of(base)] == ["prepare", "generate", "score", "record"]
    assert stages_of(world.run.cell(CELL)) == supervisor.STAGES


def test_a_marker_says_which_attempt_of_which_supervisor_did_the_stage(world: World) -> None:
    answers = [failing, done]
    world.stages(judge=lambda context: answers.pop(0)(context))
    before = time.time()
    world.go()
    path = world.folder.cell(CELL).marker("judge")
    head = read_marker_head(path)
    assert head is not None
    assert (head.schema_version, head.stage, head.attempt, head.fence) == (1, "judge", 2, 1)
    assert before <= head.finished_unix_s <= time.time()
    assert json.loads(path.read_bytes())["result"] == {"outcome": "clean", "verdicts": []}


def test_events_carry_the_fence_and_the_reason(world: World) -> None:
    answers = [failing, done]
    world.stages(judge=lambda context: answers.pop(0)(context))
    world.go()
    events = read_events(world.folder.cell(CELL).journal)
    assert {event.fence for event in events} == {1}
    assert [event.text for event in events] == ["", "the server died: out of memory", "", ""]


def test_a_stage_finds_its_attempts_folder_and_its_own_claim(world: World) -> None:
    seen: list[StageContext] = []

    def look(context: StageContext) -> object:
        assert context.attempt_dir.is_dir()
        context.check_claim()
        seen.append(context)
        return done(context)

    world.stages(prepare=look)
    world.go()
    (context,) = seen
    assert context.attempt_dir == world.folder.cell(CELL).attempt("prepare", 1)
    assert (context.cell.id, context.fence, context.attempt) == (CELL, 1, 1)
    assert context.stopping is world.stopping


def live_agent(folder: Path) -> None:
    """Leave what a supervisor leaves that has started an agent."""
    folder.mkdir(parents=True)
    session = SessionHandle(sandbox="local", name="s", data={})
    agent = LiveAgent(
        session=session,
        process=None,
        started_unix_s=1.0,
        deadline_unix_s=2.0,
        harness=(),
        prompt="",
    )
    write_json(folder / "live.json", agent)


def test_an_attempt_whose_agent_can_still_be_found_is_continued(world: World) -> None:
    live_agent(world.folder.cell(CELL).attempt("solve", 1))
    world.stages(solve=done)
    world.go()
    assert world.calls == ["solve-1"]


def test_an_attempt_without_a_live_agent_is_begun_anew(world: World) -> None:
    world.folder.cell(CELL).attempt("solve", 1).mkdir(parents=True)
    world.stages(solve=done)
    world.go()
    assert world.calls == ["solve-2"]


@pytest.mark.parametrize("event", ["failed", "abandoned"])
def test_an_attempt_that_ended_is_not_continued(world: World, event: str) -> None:
    cell = world.folder.cell(CELL)
    live_agent(cell.attempt("solve", 1))
    append_event(cell.journal, event, 1, stage="solve", attempt=1)  # type: ignore[arg-type]
    world.stages(solve=done)
    world.go()
    assert world.calls == ["solve-2"]


def test_the_end_of_another_stage_or_attempt_does_not_end_this_one(world: World) -> None:
    cell = world.folder.cell(CELL)
    cell.attempt("solve", 1).mkdir(parents=True)
    live_agent(cell.attempt("solve", 2))
    append_event(cell.journal, "failed", 1, stage="prepare", attempt=2)
    append_event(cell.journal, "failed", 1, stage="solve", attempt=1)
    append_event(cell.journal, "note", 1, stage="solve", attempt=2)
    world.stages(solve=done)
    world.go()
    assert world.calls == ["solve-2"]


def test_a_stop_between_two_attempts_is_heeded(world: World) -> None:
    def fail_while_stopping(context: StageContext) -> object:
        world.stopping.set()
        return failing(context)

    world.stages(prepare=fail_while_stopping)
    with pytest.raises(CellStoppedError):
        world.go()
    assert world.calls == ["prepare-1"]
    assert not world.folder.cell(CELL).record.exists()


def test_a_claim_lost_inside_a_stage_is_noted_and_leaves_the_attempt_to_the_successor(
    world: World,
) -> None:
    def lose(_context: StageContext) -> object:
        raise ClaimLostError("taken")

    world.stages(prepare=lose)
    with pytest.raises(ClaimLostError, match="taken"):
        world.go()
    assert world.events() == [("started", "prepare", 1), ("note", "prepare", 1)]
    assert [event.text for event in read_events(world.folder.cell(CELL).journal)] == ["", "taken"]


def test_a_supervisor_that_lost_its_claim_begins_no_stage(world: World) -> None:
    cell = world.folder.cell(CELL)
    cell.path.mkdir(parents=True)
    held = take_claim(cell.claims)
    assert held is not None
    held.release()
    second = take_claim(cell.claims)
    assert second is not None
    second.release()
    world.stages(prepare=done)
    with pytest.raises(ClaimLostError):
        world.cell_run(held).to_the_end()
    assert world.calls == []
    assert world.events() == []


def test_a_supervisor_that_lost_its_claim_writes_no_record_of_a_failure(world: World) -> None:
    cell = world.folder.cell(CELL)
    cell.path.mkdir(parents=True)
    held = take_claim(cell.claims)
    assert held is not None

    def overtaken(context: StageContext) -> object:
        if context.attempt == 2:
            held.release()
            second = take_claim(cell.claims)
            assert second is not None
            second.release()
        return failing(context)

    world.stages(prepare=overtaken)
    with pytest.raises(ClaimLostError):
        world.cell_run(held).to_the_end()
    assert not cell.record.exists()


def test_names_that_an_agent_made_up_do_not_prevent_marker_and_journal(world: World) -> None:
    named = Judged(
        outcome="inconclusive",
        verdicts=(Verdict(judge="j", version="1", outcome="inconclusive", notes=("\udcff",)),),
    )

    def fail(_context: StageContext) -> object:
        raise EngineError("cannot read \udcff.bin")

    answers = [fail, lambda _context: named]
    world.stages(judge=lambda context: answers.pop(0)(context))
    world.go()
    left = read_marker(world.folder.cell(CELL).marker("judge"), Judged)
    assert left is not None
    assert left.verdicts[0].notes == ("\\udcff",)
    assert "cannot read \\udcff.bin" in [
        event.text for event in read_events(world.folder.cell(CELL).journal)
    ]


def test_a_record_that_was_moved_away_is_written_again(world: World) -> None:
    written: list[int] = []

    def write(context: StageContext) -> object:
        written.append(context.attempt)
        context.folder.record.write_text("{}", "utf-8")
        return done(context)

    world.stages(judge=done, record=write)
    world.go()
    world.go()
    world.folder.cell(CELL).record.unlink()
    world.go()
    assert written == [1, 2]
    assert world.calls.count("judge-1") == 1


def test_a_supervisor_claims_its_cell_and_leaves_it_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: dict[int, Callable[..., object]] = {}
    monkeypatch.setattr(supervisor.signal, "signal", handlers.__setitem__)

    def stop(context: StageContext) -> object:
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        assert context.stopping.is_set()
        context.raise_if_stopping()
        return done(context)

    world.stages(prepare=stop)
    with pytest.raises(CellStoppedError):
        supervisor.supervise(world.folder, CELL)
    assert set(handlers) == {signal.SIGTERM, signal.SIGINT}
    claimed, *_ = read_events(world.folder.cell(CELL).journal)
    assert (claimed.event, claimed.fence, claimed.text) == ("claimed", 1, socket.gethostname())
    following = take_claim(world.folder.cell(CELL).claims)
    assert following is not None
    following.release()


def test_a_supervisor_of_an_unknown_cell_makes_no_folder(world: World) -> None:
    with pytest.raises(UsageError, match="has no cell 'none'"):
        supervisor.supervise(world.folder, "none")
    assert not world.folder.cell("none").path.exists()


def test_an_attempt_that_an_overtaken_supervisor_left_is_continued(world: World) -> None:
    """It says that it leaves after its successor has gone on; the successor then dies."""
    cell = world.folder.cell(CELL)
    live_agent(cell.attempt("solve", 1))
    append_event(cell.journal, "started", 1, stage="solve", attempt=1)
    append_event(cell.journal, "started", 2, stage="solve", attempt=1)
    append_event(cell.journal, "abandoned", 1, stage="solve", attempt=1)
    world.stages(solve=done)
    world.go()
    assert world.calls == ["solve-1"]


def test_what_breaks_after_a_take_over_is_no_failed_attempt(world: World) -> None:
    cell = world.folder.cell(CELL)
    cell.path.mkdir(parents=True)
    held = take_claim(cell.claims)
    assert held is not None

    def overtaken(context: StageContext) -> object:
        held.release()
        second = take_claim(cell.claims)
        assert second is not None
        second.release()
        return failing(context)

    world.stages(prepare=overtaken)
    with pytest.raises(ClaimLostError):
        world.cell_run(held).to_the_end()
    assert world.events() == [("started", "prepare", 1)]


def test_a_cell_whose_agent_works_on_another_host_waits_and_fails_nothing(world: World) -> None:
    def elsewhere(_context: StageContext) -> object:
        raise SandboxElsewhereError("it was opened on host x and this is y")

    live_agent(world.folder.cell(CELL).attempt("solve", 1))
    for _ in range(3):
        world.stages(solve=elsewhere)
        with pytest.raises(SandboxElsewhereError):
            world.go()
    world.stages(solve=done)
    world.go()
    assert set(world.calls) == {"solve-1"}
    assert {event for event, _, _ in world.events()} == {"started", "note", "done"}
