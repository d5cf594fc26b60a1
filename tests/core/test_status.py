"""How a cell stands, in words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ptb_core import status as status_module
from ptb_core.claims import HELD, take_claim
from ptb_core.evaluation.protocol import STRICT
from ptb_core.journal import append_event
from ptb_core.run_folder import RunFolder
from ptb_core.specs import CellSpec, Condition
from ptb_core.status import CellStatus, cell_status, describe_status

from .small_run import finish

CELL = CellSpec(
    id="t--m--a--r1",
    kind="agent",
    task="t",
    model="m",
    agent=None,
    repeat=1,
    condition=Condition(hours=1, gpus=0),
    protocol=STRICT,
    base_cell=None,
    seed=0,
)


def status(**facts: object) -> CellStatus:
    return CellStatus(cell=CELL, **{"attempt": 1, "is_alive": True, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stands", "words"),
    [
        (status(stage="solve", deadline_unix_s=4600.0), "solve, 1:00:00 left"),
        (status(stage="solve", deadline_unix_s=900.0), "solve, 0:00:00 left"),
        (status(stage="generate", attempt=2, progress=(3, 9)), "generate (attempt 2) 3/9"),
        (status(stage="waiting", attempt=0, is_alive=False), "waiting"),
        (status(stage="solve", is_alive=False), "solve, no supervisor (`ptb run` continues it)"),
        (
            status(
                stage="solve",
                is_alive=False,
                problem=f"{CELL.id} was stopped; `ptb run` continues it",
            ),
            "solve, no supervisor: was stopped; `ptb run` continues it",
        ),
        (
            status(stage="prepare", is_alive=False, problem="no space left"),
            "prepare, no supervisor: no space left (`ptb run` continues it)",
        ),
        (
            status(stage="failed", is_alive=False, problem="stage x failed"),
            "failed: stage x failed",
        ),
    ],
)
def test_a_cell_is_described_by_stage_time_left_and_progress(
    stands: CellStatus, words: str
) -> None:
    assert describe_status(stands, now_unix_s=1000.0) == words


def test_a_supervisor_that_died_leaves_its_last_words(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.path.mkdir(parents=True)
    append_event(folder.journal, "started", 1, stage="prepare", attempt=1)
    folder.log.write_text("warning\nptb: internal error: OSError: no space left\nmore\n", "utf-8")
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.stage, found.is_alive) == ("prepare", False)
    assert found.problem == "internal error: OSError: no space left"


def test_a_held_cell_is_alive_in_the_stage_it_began_last(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    held = take_claim(folder.claims)
    assert held is not None
    append_event(folder.journal, "started", 1, stage="prepare", attempt=1)
    append_event(folder.journal, "done", 1, stage="prepare", attempt=1)
    append_event(folder.journal, "started", 1, stage="solve", attempt=1)
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.stage, found.attempt, found.is_alive) == ("solve", 1, True)
    held.release()


@pytest.mark.parametrize(
    ("changes", "words", "complete"),
    [
        ({}, "score 25.0", True),
        ({"evaluation": None}, "done", True),
        ({"counts": "missing", "reason": "no verdict"}, "missing: no verdict", False),
        ({"counts": "base", "reason": "flagged: x"}, "counts as base: flagged: x", True),
    ],
)
def test_a_recorded_cell_is_described_by_what_it_counts_with(
    tmp_path: Path, changes: dict[str, object], words: str, complete: bool
) -> None:
    finish(RunFolder(tmp_path), CELL, **changes)
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.stage, found.attempt, found.is_alive) == ("done", 0, False)
    assert (found.is_recorded, found.is_complete, found.problem) == (True, complete, "")
    assert describe_status(found) == words


def test_a_damaged_record_is_done_but_not_complete(tmp_path: Path) -> None:
    finish(RunFolder(tmp_path), CELL)
    RunFolder(tmp_path).cell(CELL.id).record.write_bytes(b"{")
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.is_recorded, found.is_complete, found.record) == (True, False, None)
    assert describe_status(found).startswith("done, but ")
    assert "record.json: the record is cut off after 1 bytes" in found.problem


def test_a_record_that_was_moved_away_is_not_done(tmp_path: Path) -> None:
    finish(RunFolder(tmp_path), CELL)
    RunFolder(tmp_path).cell(CELL.id).record.unlink()
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.is_recorded, found.is_complete, found.stage) == (False, False, "waiting")


def test_a_supervisor_that_ends_while_the_status_is_read_has_left_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    held = take_claim(folder.claims)
    assert held is not None

    def ends(*_: object) -> bool:
        finish(RunFolder(tmp_path), CELL)
        return False

    monkeypatch.setattr(status_module, "is_alive", ends)
    assert cell_status(RunFolder(tmp_path), CELL).is_complete
    held.release()


def test_a_record_without_its_marker_is_that_of_a_failure(tmp_path: Path) -> None:
    finish(RunFolder(tmp_path), CELL, counts="missing", reason="stage x failed")
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.marker("record").unlink()
    folder.log.write_text("ptb: other words\n", "utf-8")
    append_event(folder.journal, "failed", 1, stage="judge", attempt=2)
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.stage, found.attempt, found.is_recorded) == ("failed", 2, False)
    assert describe_status(found) == "failed: stage x failed"
    held = take_claim(folder.claims)
    assert held is not None
    again = cell_status(RunFolder(tmp_path), CELL)
    assert (again.stage, again.is_alive, again.is_complete) == ("judge", True, False)
    held.release()


def test_an_agent_at_work_shows_its_deadline(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    held = take_claim(folder.claims)
    assert held is not None
    append_event(folder.journal, "started", 1, stage="solve", attempt=2)
    assert cell_status(RunFolder(tmp_path), CELL).deadline_unix_s is None
    live = folder.attempt("solve", 2) / "live.json"
    live.parent.mkdir(parents=True)
    for content, deadline in (
        (b'{"deadline_unix_s": 4600}', 4600.0),
        (b'{"deadline_unix_s": 4600.5}', 4600.5),
        (b'{"deadline_unix_s": "soon"}', None),
        (b"[1]", None),
        (b'{"dead', None),
        (b'{"x": "\xff"}', None),
    ):
        live.write_bytes(content)
        found = cell_status(RunFolder(tmp_path), CELL)
        assert (found.deadline_unix_s, found.progress) == (deadline, None)
    append_event(folder.journal, "started", 1, stage="seal", attempt=1)
    assert cell_status(RunFolder(tmp_path), CELL).deadline_unix_s is None
    held.release()


def test_generation_shows_its_progress(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.stage("generate").mkdir(parents=True)
    append_event(folder.journal, "started", 1, stage="generate", attempt=1)
    progress = folder.stage("generate") / "progress.json"
    for content, expected in (
        (b'{"done": 3, "total": 9}', (3, 9)),
        (b'{"done": 3}', None),
        (b'{"total": 9}', None),
        (b'{"done": "3", "total": 9}', None),
    ):
        progress.write_bytes(content)
        assert cell_status(RunFolder(tmp_path), CELL).progress == expected
    progress.write_bytes(b'{"done": 3, "total": 9}')
    append_event(folder.journal, "started", 1, stage="score", attempt=1)
    assert cell_status(RunFolder(tmp_path), CELL).progress is None


def test_the_stage_is_that_of_the_last_event_that_has_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.path.mkdir(parents=True)
    waiting = cell_status(RunFolder(tmp_path), CELL)
    assert (waiting.stage, waiting.attempt, waiting.is_alive) == ("waiting", 0, False)
    append_event(folder.journal, "started", 1, stage="judge", attempt=1)
    append_event(folder.journal, "claimed", 2)
    found = cell_status(RunFolder(tmp_path), CELL)
    assert (found.stage, found.attempt) == ("judge", 1)


def test_last_words_are_the_last_ones_and_only_of_the_dead(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.path.mkdir(parents=True)
    folder.log.write_bytes(b"ptb: first\nptb: last \xff\nnot ptb: more\n")
    assert cell_status(RunFolder(tmp_path), CELL).problem == "last \ufffd"
    held = take_claim(folder.claims)
    assert held is not None
    assert cell_status(RunFolder(tmp_path), CELL).problem == ""
    held.release()
    folder.log.write_text("only a warning\n", "utf-8")
    assert cell_status(RunFolder(tmp_path), CELL).problem == ""


@pytest.mark.parametrize(
    ("left", "words"),
    [(3599.9, "0:59:59"), (3661.0, "1:01:01"), (36000.0, "10:00:00"), (-5.0, "0:00:00")],
)
def test_time_left_is_in_hours_minutes_and_seconds(left: float, words: str) -> None:
    stands = status(stage="solve", deadline_unix_s=1000.0 + left)
    assert describe_status(stands, now_unix_s=1000.0) == f"solve, {words} left"


def test_time_left_is_counted_from_now() -> None:
    stands = status(stage="solve", deadline_unix_s=time.time() + 600.5)
    assert describe_status(stands) in ("solve, 0:10:00 left", "solve, 0:09:59 left")


def test_a_dead_supervisors_deadline_is_not_shown() -> None:
    stands = status(stage="solve", deadline_unix_s=4600.0, is_alive=False)
    words = "solve, no supervisor (`ptb run` continues it)"
    assert describe_status(stands, now_unix_s=1000.0) == words


def test_what_a_second_supervisor_said_is_no_news_of_the_cell(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.path.mkdir(parents=True)
    folder.log.write_text(f"ptb: {CELL.id} {HELD}\n", "utf-8")
    assert cell_status(RunFolder(tmp_path), CELL).problem == ""


def test_a_supervisor_that_said_nothing_is_explained_by_its_last_failed_attempt(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path).cell(CELL.id)
    folder.path.mkdir(parents=True)
    folder.log.write_text("", "utf-8")
    append_event(folder.journal, "failed", 1, stage="solve", attempt=1, text="no memory")
    append_event(folder.journal, "failed", 1, stage="solve", attempt=2, text="no disk")
    append_event(folder.journal, "started", 1, stage="solve", attempt=3, text="other")
    assert cell_status(RunFolder(tmp_path), CELL).problem == "no disk"
