"""What `ptb run` shows while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptb_core.progress import watcher, worth_showing
from ptb_core.run_folder import RunFolder
from ptb_core.status import CellStatus, cell_status

from .small_run import BASE, finish, small_run
from .test_status import status


def test_a_piped_run_prints_one_line_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    generating = [status(stage="generate", progress=(done, 9)) for done in (1, 2)]
    with watcher() as watch:
        for now in (status(stage="waiting", is_alive=False), *generating, *generating):
            watch((now,))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["t--m--a--r1: generate 1/9"]


def test_all_cells_are_shown_where_there_is_room() -> None:
    cells = tuple(status(stage="waiting", is_alive=False) for _ in range(5))
    assert worth_showing(cells, 5) is cells


def test_a_long_run_shows_what_works_before_what_failed_what_waits_and_what_is_done(
    tmp_path: Path,
) -> None:
    done, failed, waiting, working = _four(tmp_path)
    cells = (done, waiting, failed, working)
    assert worth_showing(cells, 3) == (waiting, failed, working)
    assert worth_showing(cells, 2) == (failed, working)
    assert worth_showing(cells, 1) == (working,)


def _four(tmp_path: Path) -> tuple[CellStatus, ...]:
    folder: RunFolder = small_run(tmp_path)
    base = folder.open().cell(BASE)
    finish(folder, base)
    return (
        cell_status(folder, base),
        status(stage="failed", is_alive=False, problem="it broke"),
        status(stage="waiting", is_alive=False),
        status(stage="solve"),
    )
