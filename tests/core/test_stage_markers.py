"""What stages leave for each other: markers, notes, the wish to stop."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import cast

import pytest

from ptb_core.catalogue import Catalogue
from ptb_core.errors import RecordError
from ptb_core.journal import read_events
from ptb_core.stages.context import CellStoppedError, Judged, Recorded, StageContext
from ptb_core.stages.markers import read_marker, read_marker_head

from .small_run import NULL, small_run, write_marker


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    run_folder = small_run(tmp_path)
    run = run_folder.open()
    folder = run_folder.cell(NULL)
    folder.path.mkdir(parents=True)
    return StageContext(
        run=run,
        run_folder=run_folder,
        folder=folder,
        cell=run.cell(NULL),
        catalogue=cast(Catalogue, None),
        fence=3,
        attempt=2,
        attempt_dir=folder.attempt("judge", 2),
        check_claim=lambda: None,
        stopping=threading.Event(),
    )


def test_a_stage_reads_what_an_earlier_one_left(context: StageContext) -> None:
    write_marker(context.folder.marker("record"), "record", {"record": "/r/record.json"})
    assert context.result("record", Recorded) == Recorded(record=Path("/r/record.json"))


def test_a_stage_that_is_not_done_has_no_result(context: StageContext) -> None:
    with pytest.raises(RecordError) as caught:
        context.result("judge", Judged)
    assert str(caught.value) == f"{NULL}: stage judge has no marker; run the plan again"
    assert read_marker(context.folder.marker("judge"), Judged) is None


def test_a_note_is_a_line_of_the_journal_with_fence_and_attempt(context: StageContext) -> None:
    context.note("judge", "skipped one file", {"files": 1})
    context.note("judge", "nothing more")
    first, second = read_events(context.folder.journal)
    assert (first.event, first.stage, first.attempt, first.fence) == ("note", "judge", 2, 3)
    assert (first.text, first.data) == ("skipped one file", {"files": 1})
    assert (second.text, second.data) == ("nothing more", {})


def test_a_stopped_cell_ends_with_the_exit_status_of_an_interrupt(context: StageContext) -> None:
    context.raise_if_stopping()
    context.stopping.set()
    with pytest.raises(CellStoppedError, match=rf"^{NULL} was stopped; `ptb run` cont") as caught:
        context.raise_if_stopping()
    assert caught.value.exit_code == 130


@pytest.mark.parametrize(
    "result",
    [{"outcome": "guilty", "verdicts": []}, {"outcome": "clean"}, 7],
)
def test_a_marker_whose_result_is_another_is_damaged(context: StageContext, result: object) -> None:
    marker = context.folder.marker("judge")
    write_marker(marker, "judge", result)
    head = read_marker_head(marker)
    assert head is not None
    assert (head.stage, head.attempt, head.fence) == ("judge", 1, 1)
    with pytest.raises(RecordError, match=damaged(marker)):
        read_marker(marker, Judged)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"stage": "judge"}', b'{"stage":"\xff"}'])
def test_a_marker_that_is_cut_or_garbled_is_damaged(context: StageContext, content: bytes) -> None:
    marker = context.folder.marker("judge")
    marker.parent.mkdir(parents=True)
    marker.write_bytes(content)
    with pytest.raises(RecordError, match=damaged(marker)):
        read_marker_head(marker)


def test_a_marker_with_garbled_text_in_its_result_is_damaged(context: StageContext) -> None:
    marker = context.folder.marker("record")
    write_marker(marker, "record", {"record": "PATH"})
    marker.write_bytes(marker.read_bytes().replace(b"PATH", b"\xff"))
    with pytest.raises(RecordError, match=damaged(marker)):
        read_marker(marker, Recorded)


def damaged(marker: Path) -> str:
    path = re.escape(str(marker))
    return rf"^{path} is damaged \(.+\); remove it and run the plan again to repeat this stage$"


def test_a_cancelled_run_stops_supervisors_that_no_signal_reaches(context: StageContext) -> None:
    context.raise_if_stopping()
    context.run_folder.cancelled.touch()
    with pytest.raises(CellStoppedError, match="was stopped; `ptb run` continues it"):
        context.raise_if_stopping()
