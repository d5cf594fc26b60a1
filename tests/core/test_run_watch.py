"""Looking at a run again and again: what was found is read again only when it may have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core import run_watch
from ptb_core.claims import take_claim
from ptb_core.integrity import Verdict
from ptb_core.journal import append_event
from ptb_core.run_folder import RunFolder
from ptb_core.run_watch import RunWatch
from ptb_core.specs import CellSpec
from ptb_core.status import CellStatus, cell_status, describe_status

from .small_run import BASE, MINE, NULL, finish, small_run


class Watched:
    """A run that is looked at, and the cells that each look has read."""

    def __init__(self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.cells = {cell.id: cell for cell in folder.open().cells}
        self._watch = RunWatch(folder, tuple(self.cells.values()))
        self._read: list[str] = []
        self._seconds = 1
        self._now_s = 0.0
        monkeypatch.setattr(run_watch, "cell_status", self._reading(cell_status))
        monkeypatch.setattr(time, "monotonic", lambda: self._now_s)

    def _reading(
        self, read: Callable[[RunFolder, CellSpec], CellStatus]
    ) -> Callable[[RunFolder, CellSpec], CellStatus]:
        def counted(folder: RunFolder, cell: CellSpec) -> CellStatus:
            self._read.append(cell.id)
            return read(folder, cell)

        return counted

    def look(self, *placed: str) -> list[str]:
        """Look once, a second after the last look; return the ids of the cells that were read."""
        self._now_s += 1.0
        self._read = []
        self.statuses = {s.cell.id: s for s in self._watch.look(frozenset(placed))}
        assert list(self.statuses) == list(self.cells)
        return self._read

    def die(self, cell: str) -> None:
        """Leave what a supervisor leaves that is killed while its agent works."""
        folder = self.folder.cell(cell)
        held = take_claim(folder.claims)
        assert held is not None
        append_event(folder.journal, "started", held.claim.number, stage="solve", attempt=1)
        held.release()
        self.age(cell)

    def age(self, cell: str) -> None:
        """Let what was left be of another time than before and than what comes."""
        self._seconds += 1
        folder = self.folder.cell(cell)
        for path in (folder.path, folder.claims):
            os.utime(path, (self._seconds, self._seconds))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(small_run(tmp_path), monkeypatch)


def test_cells_that_nobody_began_cost_nothing(run: Watched) -> None:
    assert run.look() == []
    assert {status.stage for status in run.statuses.values()} == {"waiting"}


def test_a_recorded_cell_is_read_once(run: Watched) -> None:
    finish(run.folder, run.cells[BASE])
    assert run.look() == [BASE]
    assert run.look() == run.look() == []
    assert run.statuses[BASE].is_complete


def test_a_recorded_cell_is_read_once_although_its_job_still_ends(run: Watched) -> None:
    finish(run.folder, run.cells[BASE])
    assert run.look(BASE) == [BASE]
    assert run.look(BASE) == run.look() == []


def test_a_cell_at_work_is_read_at_every_look(run: Watched) -> None:
    held = take_claim(run.folder.cell(NULL).claims)
    assert held is not None
    assert [run.look() for _ in range(4)] == [[NULL]] * 4
    assert run.statuses[NULL].is_alive
    held.release()


def test_a_cell_that_nobody_works_on_is_read_twice_and_again_when_it_changes(run: Watched) -> None:
    run.die(NULL)
    assert [run.look() for _ in range(4)] == [[NULL], [NULL], [], []]
    assert "no supervisor" in describe_status(run.statuses[NULL])
    run.die(NULL)
    assert [run.look() for _ in range(3)] == [[NULL], [NULL], []]


def test_a_cell_is_read_until_a_second_change_within_one_tick_would_have_been_seen(
    run: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_watch, "SETTLED_S", 2.5)
    run.die(NULL)
    assert [run.look() for _ in range(6)] == [[NULL]] * 4 + [[], []]


def test_a_cell_that_is_taken_over_or_finished_by_others_is_seen_at_the_next_look(
    run: Watched,
) -> None:
    run.die(NULL)
    for _ in range(3):
        run.look()
    held = take_claim(run.folder.cell(NULL).claims)
    assert held is not None
    assert (run.look(), run.statuses[NULL].is_alive) == ([NULL], True)
    held.release()
    run.age(NULL)
    for _ in range(3):
        run.look()
    finish(run.folder, run.cells[NULL])
    assert (run.look(), run.statuses[NULL].is_recorded) == ([NULL], True)


def test_the_last_words_of_a_job_that_has_just_ended_are_read(run: Watched) -> None:
    run.die(NULL)
    for _ in range(3):
        run.look()
    log = run.folder.cell(NULL).log
    log.touch()
    assert run.look(NULL) == [NULL]
    log.write_text("ptb: no space left\n", "utf-8")
    assert run.look() == [NULL]
    assert run.statuses[NULL].problem == "no space left"


def test_every_look_agrees_with_reading_everything(run: Watched) -> None:
    finish(run.folder, run.cells[BASE], counts="missing", reason="it is lost")
    run.die(NULL)
    for _ in range(4):
        run.look()
        for cell in run.cells.values():
            assert run.statuses[cell.id] == cell_status(run.folder, cell)
    finish(run.folder, run.cells[MINE])
    run.look()
    assert describe_status(run.statuses[MINE]) == "score 25.0"


def test_a_recorded_cell_is_kept_without_its_evidence(run: Watched) -> None:
    verdict = Verdict(judge="rules", version="1", outcome="clean", facts={"files": 12})
    facts = {"verdict": "clean", "verdicts": (verdict,), "lock": {"host": "a"}}
    finish(run.folder, run.cells[MINE], **facts)
    run.look()
    whole = cell_status(run.folder, run.cells[MINE]).record
    kept = run.statuses[MINE].record
    assert whole is not None
    assert kept == replace(whole, verdicts=(), lock={})
