"""The rule in force, and its application by supervisors and `ptb run`."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ptb_core import supervisor
from ptb_core.catalogue import load_catalogue
from ptb_core.claims import take_claim
from ptb_core.errors import RecordError, UsageError
from ptb_core.journal import read_events
from ptb_core.plan import load_plan
from ptb_core.plan.model import Retention
from ptb_core.redo import choose
from ptb_core.redo_request import RedoKind, write_redo
from ptb_core.retention.apply import (
    retain_after_record,
    retain_run,
    retention_in_force,
    set_retention,
)
from ptb_core.retention.notes import RemovedError, removals
from ptb_core.stages.generate import checkpoint_of
from ptb_core.stages.judge import assemble_evidence

from ..core.small_run import small_run
from .conftest import World
from .made_cells import content, recorded, work

NONE = Retention(checkpoints="none")


def submission(world: World, repeat: int = 1) -> Path:
    return world.folder.cell(world.cell(repeat).id).attempt("seal", 1) / "submission"


def after_record(world: World, repeat: int = 1) -> None:
    retain_after_record(world.folder, world.run, load_catalogue(), world.cell(repeat), 1)


def test_a_plan_that_says_nothing_loses_no_checkpoint_and_keeps_no_copy(world: World) -> None:
    assert retention_in_force(world.folder, world.run) == Retention(
        checkpoints="all", workspaces="without-copies"
    )


def test_the_plan_says_what_stays(tmp_path: Path) -> None:
    folder = small_run(tmp_path, retention={"checkpoints": "best", "workspaces": "whole"})
    expected = Retention(checkpoints="best", workspaces="whole")
    assert retention_in_force(folder, folder.open()) == expected


def test_retention_may_change_from_one_ptb_run_to_the_next(tmp_path: Path) -> None:
    folder = small_run(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    plan["retention"] = {"checkpoints": "none"}
    (tmp_path / "plan.json").write_text(json.dumps(plan), "utf-8")
    changed = load_plan(tmp_path / "plan.json", load_catalogue())
    before = folder.open()
    run = folder.create(changed, {})
    assert (run.plan_id, run.plan.condition_id) == (before.plan_id, changed.condition_id)
    set_retention(folder, run, changed.retention)
    assert retention_in_force(folder, folder.open()) == NONE
    set_retention(folder, run, run.plan.retention)
    assert retention_in_force(folder, folder.open()) == Retention()


def test_a_rule_that_is_the_plans_own_makes_no_file(world: World) -> None:
    set_retention(world.folder, world.run, world.run.plan.retention)
    assert not world.folder.retention.exists()


def test_a_run_folder_from_before_retention_opens_with_the_default(tmp_path: Path) -> None:
    folder = small_run(tmp_path)
    head = json.loads(folder.head.read_bytes())
    del head["plan"]["retention"]
    folder.head.write_text(json.dumps(head), "utf-8")
    assert folder.open().plan.retention == Retention()


@pytest.mark.parametrize("content", [b'{"checkpoints": "all', b'{"checkpoints": "some"}', b"\xff"])
def test_a_damaged_rule_is_said_and_nothing_is_removed(world: World, content: bytes) -> None:
    folder = recorded(world.folder, world.cell())
    world.folder.retention.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        retention_in_force(world.folder, world.run)
    assert str(caught.value).startswith(f"{world.folder.retention} is damaged (")
    after_record(world)
    assert submission(world).exists()
    *_, note = read_events(folder.journal)
    assert (note.event, note.text) == ("note", f"retention: {caught.value}")
    assert retain_run(world.folder, world.run, load_catalogue()) == (str(caught.value),)


def test_a_supervisor_applies_the_rule_after_its_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_retention(world.folder, world.run, NONE)
    recorded(world.folder, world.cell(1))
    recorded(world.folder, world.cell(2))
    monkeypatch.setattr(supervisor, "STAGES", ())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    supervisor.supervise(world.folder, world.cell(1).id)
    assert not submission(world, 1).exists()
    assert submission(world, 2).exists(), "the other repeat is not its business"
    (first, *_) = removals(world.folder.cell(world.cell(1).id))
    assert first.by == "the plan's retention (checkpoints none, workspaces without-copies)"


def test_a_supervisor_removes_the_repeat_that_its_own_is_better_than(world: World) -> None:
    set_retention(world.folder, world.run, Retention(checkpoints="best"))
    recorded(world.folder, world.cell(1), 0.1)
    recorded(world.folder, world.cell(2), 0.7)
    held = take_claim(world.folder.cell(world.cell(2).id).claims)
    assert held is not None
    after_record(world, 2)
    held.release()
    assert (submission(world, 1).exists(), submission(world, 2).exists()) == (False, True)


def test_a_supervisor_removes_its_own_when_an_earlier_repeat_is_better(world: World) -> None:
    set_retention(world.folder, world.run, Retention(checkpoints="best"))
    recorded(world.folder, world.cell(1), 0.7)
    recorded(world.folder, world.cell(2), 0.1)
    held = take_claim(world.folder.cell(world.cell(2).id).claims)
    assert held is not None
    after_record(world, 2)
    held.release()
    assert (submission(world, 1).exists(), submission(world, 2).exists()) == (True, False)


def test_what_a_supervisor_had_to_leave_goes_at_the_end_of_the_run(world: World) -> None:
    set_retention(world.folder, world.run, Retention(checkpoints="best"))
    recorded(world.folder, world.cell(1), 0.7)
    recorded(world.folder, world.cell(2), 0.1)
    busy = take_claim(world.folder.cell(world.cell(1).id).claims)
    held = take_claim(world.folder.cell(world.cell(2).id).claims)
    assert busy is not None
    assert held is not None
    after_record(world, 2)
    assert submission(world, 2).exists()
    *_, note = read_events(world.folder.cell(world.cell(2).id).journal)
    assert note.text == (
        f"retention: {world.cell(2).id}: left alone: {world.cell(1).id}, which would stay "
        "instead, is being worked on"
    )
    for claim in (busy, held):
        claim.release()
    assert retain_run(world.folder, world.run, load_catalogue()) == ()
    assert not submission(world, 2).exists()


def test_a_crashed_write_is_not_looked_for_after_each_record(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    left = folder.path / ".record.json.01ab23cd.tmp"
    left.write_text("half", "utf-8")
    after_record(world)
    assert left.exists()


def context_of(world: World) -> Any:
    """A stage's context, as far as the two functions below look into it."""

    class Context:
        folder = world.folder.cell(world.cell().id)
        cell = world.cell()

        def result(self, stage: str, result_type: type[Any]) -> Any:
            from ptb_core.stages.markers import read_marker

            return read_marker(self.folder.marker(stage), result_type)

    return Context()


def test_generation_and_judges_refuse_to_take_a_removed_checkpoint_for_none(
    world: World, tmp_path: Path
) -> None:
    recorded(world.folder, world.cell())
    assert checkpoint_of(context_of(world)) == submission(world)
    world.clean("none")
    with pytest.raises(RemovedError, match=r"its checkpoint was removed on .* by ptb gc"):
        checkpoint_of(context_of(world))
    with pytest.raises(RemovedError, match=r"its checkpoint was removed on .* by ptb gc"):
        assemble_evidence(context_of(world), tmp_path)


def test_a_supervisor_of_an_unfinished_cell_removes_nothing(world: World) -> None:
    set_retention(
        world.folder, world.run, Retention(checkpoints="none", workspaces="without-weights")
    )
    work(world.folder, world.cell())
    after_record(world)
    assert submission(world).exists()
    assert removals(world.folder.cell(world.cell().id)) == ()


@pytest.mark.parametrize(
    ("kind", "verb"), [("rejudge", "judging again"), ("reevaluate", "evaluating again")]
)
def test_what_needs_a_removed_checkpoint_is_refused_before_anything_changes(
    world: World, kind: RedoKind, verb: str
) -> None:
    folder = recorded(world.folder, world.cell())
    world.clean("none")
    before = content(folder.path)
    with pytest.raises(UsageError) as caught:
        choose(world.folder, world.run, kind, [world.cell().id])
    assert str(caught.value).startswith(
        f"{verb} is not possible; nothing was changed:\n  {world.cell().id}: its checkpoint was "
        "removed on "
    )
    assert content(folder.path) == before


def test_nothing_goes_while_stages_are_to_be_done_again(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    write_redo(folder, "rejudge", ("judge", "record"))
    assert world.clean("none", "without-weights") == []
    assert submission(world).exists()
