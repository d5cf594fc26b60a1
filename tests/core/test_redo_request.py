"""Stages done again by a supervisor: continued after a kill, taken back when they fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ptb_core import supervisor
from ptb_core.catalogue import load_catalogue
from ptb_core.claims import take_claim
from ptb_core.errors import ClaimLostError, EngineError, RecordError
from ptb_core.integrity import Verdict
from ptb_core.json_codec import to_builtins
from ptb_core.record_store import read_record
from ptb_core.redo_request import read_redo, write_redo
from ptb_core.run_folder import CellFolder, RunFolder
from ptb_core.stages.context import Judged, Recorded, Scored, StageContext
from ptb_core.stages.markers import read_marker
from ptb_core.stages.record import record
from ptb_core.status import cell_status, describe_status
from ptb_core.supervisor import CellRun, Stage, StageFailedError

from .small_run import NULL, small_run


class Again:
    """A cell whose score and judge stages are given by the test; its records are real."""

    def __init__(self, run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run_folder = run_folder
        self.folder: CellFolder = run_folder.cell(NULL)
        self.calls: list[str] = []
        self.judging: Callable[[StageContext], object] = lambda _: judged("clean")
        self.recording: Callable[[StageContext], object] = record
        stages = (
            Stage(name="score", run=self._score, attempts=1),
            Stage(name="judge", run=self._judge, attempts=1),
            Stage(name="record", run=lambda context: self.recording(context), attempts=1),
        )
        monkeypatch.setattr(supervisor, "STAGES", stages)

    def go(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        held = take_claim(self.folder.claims)
        assert held is not None
        run = self.run_folder.open()
        try:
            CellRun(
                self.run_folder, run, run.cell(NULL), load_catalogue(), held, threading.Event()
            ).to_the_end()
        finally:
            held.release()

    @property
    def outcome(self) -> str:
        marker = read_marker(self.folder.marker("judge"), Judged)
        assert marker is not None
        return marker.outcome

    @property
    def status(self) -> str:
        run = self.run_folder.open()
        return describe_status(cell_status(self.run_folder, run.cell(NULL)))

    def _score(self, context: StageContext) -> object:
        self.calls.append(f"score-{context.attempt}")
        return Scored(evaluation=None)

    def _judge(self, context: StageContext) -> object:
        self.calls.append(f"judge-{context.attempt}")
        return self.judging(context)


def judged(outcome: Any) -> Judged:
    verdict = Verdict(judge="lineage", version="1", outcome=outcome)
    return Judged(outcome=outcome, verdicts=(verdict,))


def killed(_context: StageContext) -> object:
    raise ClaimLostError("the supervisor was killed")


def failing(_context: StageContext) -> object:
    raise EngineError("the judge's model is gone")


@pytest.fixture
def again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Again:
    made = Again(small_run(tmp_path), monkeypatch)
    made.judging = lambda _: judged("inconclusive")
    made.go()
    assert made.calls == ["score-1", "judge-1"]
    return made


def test_only_the_named_stages_run_again_and_the_earlier_attempt_stays(again: Again) -> None:
    before = read_record(again.folder.record)
    again.judging = lambda _: judged("flagged")
    write_redo(again.folder, "rejudge", ("judge", "record"))
    assert again.status == "to be done again: judge, record (`ptb run` does it)"
    again.go()
    assert again.calls == ["score-1", "judge-1", "judge-2"]
    assert again.outcome == "flagged"
    earlier = read_marker(again.folder.attempt_marker("judge", 1), Judged)
    assert earlier is not None
    assert earlier.outcome == "inconclusive"
    after = read_record(again.folder.record)
    assert (before.made_by, after.made_by) == ("run", "rejudge")
    assert [to_builtins(one) for one in after.earlier] == [
        {
            "made_by": "run",
            "created_unix_s": before.created_unix_s,
            "counts": "missing",
            "verdict": "inconclusive",
            "score": None,
        }
    ]
    assert read_record(again.folder.attempt_record(1)) == before
    assert read_redo(again.folder) is None


def test_the_history_grows_with_every_repetition(again: Again) -> None:
    for outcome in ("flagged", "clean"):
        again.judging = lambda _, outcome=outcome: judged(outcome)
        write_redo(again.folder, "rejudge", ("judge", "record"))
        again.go()
    earlier = read_record(again.folder.record).earlier
    assert [(one.made_by, one.verdict) for one in earlier] == [
        ("run", "inconclusive"),
        ("rejudge", "flagged"),
    ]


def test_a_killed_repetition_is_continued_and_repeats_no_stage_that_is_done_anew(
    again: Again,
) -> None:
    again.recording = killed
    again.judging = lambda _: judged("clean")
    write_redo(again.folder, "rejudge", ("judge", "record"))
    with pytest.raises(ClaimLostError):
        again.go()
    assert read_redo(again.folder) is not None
    again.recording = record
    again.go()
    assert again.calls == ["score-1", "judge-1", "judge-2"]
    assert read_record(again.folder.record).verdict == "clean"
    assert read_redo(again.folder) is None


def test_what_was_there_counts_again_when_a_repetition_fails_for_good(again: Again) -> None:
    before = read_record(again.folder.record)
    again.judging = failing
    write_redo(again.folder, "rejudge", ("score", "judge", "record"))
    with pytest.raises(
        StageFailedError,
        match=r"r1: stage judge failed: the judge's model is gone; what was there before still "
        r"counts$",
    ):
        again.go()
    assert again.calls == ["score-1", "judge-1", "score-2", "judge-2"]
    score = again.folder.marker("score").read_bytes()
    assert score == again.folder.attempt_marker("score", 1).read_bytes()
    assert again.outcome == "inconclusive"
    assert read_record(again.folder.record) == before
    assert read_redo(again.folder) is None
    assert again.status == "missing: the submission was never sealed"


def test_a_record_that_was_written_before_its_marker_failed_is_taken_back(again: Again) -> None:
    before = again.folder.record.read_bytes()

    def half(context: StageContext) -> Recorded:
        record(context)
        raise EngineError("no space left")

    again.judging = lambda _: judged("clean")
    again.recording = half
    write_redo(again.folder, "rejudge", ("judge", "record"))
    with pytest.raises(StageFailedError):
        again.go()
    assert again.folder.record.read_bytes() == before
    assert again.outcome == "inconclusive"


def test_a_second_wish_keeps_what_the_first_has_open(again: Again) -> None:
    write_redo(again.folder, "rescore", ("score", "record"))
    wish = write_redo(again.folder, "rejudge", ("judge", "record"))
    assert dict(wish.stages) == {"judge": 1, "record": 1, "score": 1}
    again.go()
    assert again.calls == ["score-1", "judge-1", "score-2", "judge-2"]


def test_a_stage_that_was_never_done_cannot_be_done_again(again: Again) -> None:
    with pytest.raises(RecordError, match=r"null--r1: stage generate was never done"):
        write_redo(again.folder, "reevaluate", ("generate", "record"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kind": "rejudge"}', b"\xff"])
def test_a_damaged_wish_is_named_and_says_what_to_do(again: Again, content: bytes) -> None:
    again.folder.redo.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_redo(again.folder)
    text = str(caught.value)
    assert text.startswith(f"{again.folder.redo} is damaged (")
    assert text.endswith(
        "; remove it: the cell then counts as it did before, and what was to be done again can "
        "be asked for anew"
    )
    run = again.run_folder.open()
    status = cell_status(again.run_folder, run.cell(NULL))
    assert status.is_recorded
    assert status.problem == text
