"""Two ``ptb run`` on one run folder at once, with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptb_core.journal import read_events

from .proof import Expected, expected_score, prove
from .world import AGENT_CELL, BASE_CELL, Setup, World, wait_until

pytestmark = pytest.mark.slow

SETUP = Setup(with_base=True, work_s=0.5, batch_s=0.05)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world", SETUP)


def prove_undisturbed(world: World) -> None:
    for cell in (BASE_CELL, AGENT_CELL):
        events = read_events(world.run_folder.cell(cell).journal)
        assert [e.attempt for e in events if e.event == "started"] == [1] * len(
            [e for e in events if e.event == "done"]
        ), "a stage was tried twice"
        assert {e.event for e in events} == {"claimed", "started", "done"}
    assert prove(world, Expected()).faults == []
    log = (world.folder / "command-line.log").read_text("utf-8")
    assert log.count("worker") >= 2
    assert "Traceback" not in log
    assert "some cells have no score" not in log


def test_started_at_the_same_moment_they_share_the_run_and_both_end_well(world: World) -> None:
    both = [world.command_line(), world.command_line()]
    assert [process.wait(120) for process in both] == [0, 0]
    prove_undisturbed(world)


def test_a_second_one_follows_what_the_first_has_started(world: World) -> None:
    first = world.command_line()
    assert wait_until(lambda: world.find("agent"), 60)
    second = world.command_line()
    assert [first.wait(120), second.wait(120)] == [0, 0]
    prove_undisturbed(world)


def test_two_supervisors_of_one_cell_race_and_one_leaves_without_harm(world: World) -> None:
    """A command line was killed between starting a supervisor and noting it."""
    first = world.command_line()
    assert wait_until(lambda: world.find("supervisor"), 60)
    first.kill()
    first.wait()
    (world.run / "jobs.jsonl").write_bytes(b"")
    assert world.finish(120) == 0
    refused = (world.run / "cells" / AGENT_CELL / "supervisor.log").read_text("utf-8")
    assert refused in ("", f"ptb: {AGENT_CELL} is held by another supervisor that is alive\n")
    prove_undisturbed(world)


def test_scores_of_different_checkpoints_differ() -> None:
    """Else no proof could tell which checkpoint answered."""
    assert len({expected_score(str(number)) for number in range(8)}) > 2
