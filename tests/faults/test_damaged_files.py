"""Every file of a run folder, damaged in every way: one sentence, nothing guessed, nothing lost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ptb_core.canonical import file_sha256
from ptb_core.cli.main import main
from ptb_core.driver import Job, _known_jobs
from ptb_core.errors import RecordError
from ptb_core.evaluation.completion_log import CompletionLog, read_completions
from ptb_core.evaluation.exchange import Completion
from ptb_core.interfaces import JobHandle
from ptb_core.journal import append_event, append_line, read_events
from ptb_core.json_codec import to_builtins
from ptb_core.redo_request import write_redo
from ptb_core.stages.context import Judged, StageContext
from ptb_core.stages.score import require_unchanged
from ptb_core.status import cell_status, describe_status

from ..core.small_run import BASE, MINE, NULL, finish, small_run
from ..core.test_supervisor import live_agent
from .conftest import Supervised, done
from .damages import DAMAGES, mend
from .test_full_disk import append_answers, question

WAYS = pytest.mark.parametrize("way", list(DAMAGES))

MALFORMED = "JSON is malformed: "
WORDS = {
    "empty": r"is damaged \(Input data was truncated\)",
    "half": r"is damaged \(Input data was truncated\)",
    "zeros": rf"is damaged \({MALFORMED}invalid character \(byte 0\)\)",
    "another_type": r"is damaged \(Expected `object`, got `array`\)",
    "wrong_shape": r"is damaged \(Object missing required field `\w+`\)",
    "newer": r": schema_version 99; this version of ptb reads 1; use the version that wrote it",
    "no_utf8": r"is damaged \('utf-8' codec can't decode byte 0xff in position \d+: .+\)",
    "deep": r"is damaged \((Expected `object`, got `array`|maximum recursion depth .+)\)",
    "folder": r"cannot be read \(Is a directory\); mend that, or",
    "link_to_itself": r"cannot be read \(Too many levels of symbolic links\); mend that, or",
}


def assert_says(said: str, path: Path, way: str, remedy: str) -> None:
    """One line: the file, what is wrong with it, what to do."""
    end = "" if way == "newer" else rf"[; ]+{re.escape(remedy)}"
    start = "" if way == "newer" else " "
    assert re.fullmatch(rf".*{re.escape(str(path))}{start}{WORDS[way]}{end}\n?", said), said


# run.json -------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("command", ["status", "leaderboard", "cancel"])
def test_a_damaged_head_is_named_and_the_records_stay(
    way: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(tmp_path)
    finish(run, run.open().cell(BASE))
    before = run.head.read_bytes(), run.cell(BASE).record.read_bytes()
    DAMAGES[way](run.head)
    assert main([command, str(run.path)]) == 1
    said = capsys.readouterr().err
    if way in ("another_type", "wrong_shape", "deep"):
        assert re.fullmatch(rf"ptb: {run.head} is damaged \(.+\); restore it from a copy.+\n", said)
    else:
        assert_says(said, run.head, way, "restore it from a copy, the cells' records are intact")
    assert run.cell(BASE).record.read_bytes() == before[1]
    mend(run.head, before[0])
    assert main(["status", str(run.path)]) == 0


def test_a_head_of_another_form_says_what_is_wrong(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    run.head.write_bytes(b"[1]")
    with pytest.raises(RecordError, match=r"damaged \(Expected `object`, got `array`\)"):
        run.open()
    run.head.write_bytes(b'{"schema_version": 1}')
    with pytest.raises(RecordError, match=r"damaged \(Object missing required field `run_id`\)"):
        run.open()


@pytest.mark.parametrize("cell_id", ["../../elsewhere", "a/b", "..", ""])
def test_a_head_whose_cells_lead_out_of_the_folder_is_damaged(tmp_path: Path, cell_id: str) -> None:
    run = small_run(tmp_path)
    document = json.loads(run.head.read_bytes())
    document["cells"][0]["id"] = cell_id
    run.head.write_text(json.dumps(document), "utf-8")
    with pytest.raises(RecordError, match=re.escape(f"({cell_id!r} is no id of a cell)")):
        run.open()


# Stage markers --------------------------------------------------------------------------------


@WAYS
def test_a_damaged_marker_stops_the_cell_and_repeats_its_stage_once_removed(
    way: str, supervised: Supervised
) -> None:
    supervised.supervise(prepare=done, judge=done)
    marker = supervised.folder.marker("judge")
    DAMAGES[way](marker)
    with pytest.raises(RecordError) as caught:
        supervised.supervise(prepare=done, judge=done)
    remedy = "remove it and run the plan again to repeat this stage"
    assert_says(str(caught.value), marker, way, remedy)
    assert not supervised.folder.record.exists()
    mend(marker)
    supervised.supervise(prepare=done, judge=done)
    assert supervised.calls == ["prepare-1", "judge-1", "judge-2"]


def test_a_marker_whose_result_is_damaged_stops_the_stage_that_reads_it_and_fails_none(
    supervised: Supervised,
) -> None:
    def reading(context: StageContext) -> object:
        return context.result("judge", Judged)

    supervised.supervise(judge=done)
    marker = supervised.folder.marker("judge")
    marker.write_bytes(marker.read_bytes().replace(b'"clean"', b'"spotless"'))
    with pytest.raises(RecordError, match=r"done\.json is damaged \(Invalid enum value"):
        supervised.supervise(judge=done, record=reading)
    assert supervised.events()[-1] == ("abandoned", "record", 1)
    mend(marker)
    supervised.supervise(judge=done, record=reading)
    assert supervised.events()[-1] == ("done", "record", 2)


@WAYS
def test_a_damaged_wish_to_do_stages_again_is_named(way: str, supervised: Supervised) -> None:
    supervised.supervise(judge=done, record=done)
    write_redo(supervised.folder, "rejudge", ["judge", "record"])
    document = json.loads(supervised.folder.redo.read_bytes())
    supervised.folder.redo.write_text(json.dumps(document), "utf-8")
    DAMAGES[way](supervised.folder.redo)
    with pytest.raises(RecordError) as caught:
        supervised.supervise(judge=done, record=done)
    remedy = (
        "remove it: the cell then counts as it did before, and what was to be done again can be "
        "asked for anew"
    )
    assert_says(str(caught.value), supervised.folder.redo, way, remedy)


# Live sessions --------------------------------------------------------------------------------


@WAYS
def test_a_damaged_note_of_a_live_agent_never_starts_a_second_one(
    way: str, supervised: Supervised
) -> None:
    attempt = supervised.folder.attempt("solve", 1)
    live_agent(attempt)
    live = attempt / "live.json"
    DAMAGES[way](live)
    with pytest.raises(RecordError) as caught:
        supervised.supervise(solve=done)
    remedy = (
        "its agent may still be at work until its deadline: end it, or wait for that, then remove "
        "the file and run the plan again"
    )
    assert_says(str(caught.value), live, way, remedy)
    assert supervised.calls == []
    mend(live)
    supervised.supervise(solve=done)
    assert supervised.calls == ["solve-2"]


# Lines: journal, jobs, completions ------------------------------------------------------------


@pytest.mark.parametrize("way", ["empty", "half", "zeros", "another_type", "no_utf8", "deep"])
def test_damaged_lines_of_a_journal_cost_themselves_only(way: str, supervised: Supervised) -> None:
    supervised.supervise(prepare=done)
    DAMAGES[way](supervised.folder.journal)
    supervised.supervise(prepare=done, judge=done)
    assert supervised.calls == ["prepare-1", "judge-1"]
    assert supervised.events()[-2:] == [("started", "judge", 1), ("done", "judge", 1)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"event": "failed", "unix_s": 1, "fence": 1, "stage": "solve", "attempt": -3}',
        b'{"event": "failed", "unix_s": -1, "fence": 1}',
        b'{"event": "burnt", "unix_s": 1, "fence": 1}',
        b'{"event": "note", "unix_s": 1e999, "fence": 1}',
        b'{"event": "note", "unix_s": NaN, "fence": 1}',
    ],
)
def test_an_event_that_cannot_be_is_no_event(line: bytes, tmp_path: Path) -> None:
    append_event(tmp_path / "journal.jsonl", "claimed", 1)
    append_line(tmp_path / "journal.jsonl", line)
    assert [event.event for event in read_events(tmp_path / "journal.jsonl")] == ["claimed"]


@pytest.mark.parametrize("way", ["folder", "link_to_itself"])
def test_a_journal_that_cannot_be_read_is_named_and_other_cells_are_still_shown(
    way: str, supervised: Supervised, capsys: pytest.CaptureFixture[str]
) -> None:
    supervised.supervise(prepare=done)
    journal = supervised.folder.journal
    DAMAGES[way](journal)
    assert main(["status", str(supervised.run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    reason = {"folder": "Is a directory", "link_to_itself": "Too many levels of symbolic links"}
    assert f"{MINE}  waiting" in lines
    assert (
        f"{NULL}  unknown: {journal}: the cell's journal cannot be read ({reason[way]}); mend "
        "that, or move it away to begin it anew"
    ) in lines
    mend(journal)
    supervised.supervise(prepare=done, judge=done)
    assert supervised.calls == ["prepare-1", "judge-1"]


@pytest.mark.parametrize("way", ["empty", "half", "zeros", "another_type", "no_utf8", "deep"])
def test_damaged_lines_of_the_list_of_jobs_cost_themselves_only(way: str, tmp_path: Path) -> None:
    run = small_run(tmp_path)
    append_line(run.jobs, b'{"cell": "x", "handle": {"executor": "local", "id": "1"}}')
    DAMAGES[way](run.jobs)
    job = Job(cell=NULL, handle=JobHandle(executor="local", id="2"), submitted_unix_s=1.0)
    append_line(run.jobs, json.dumps(to_builtins(job)).encode())
    assert _known_jobs(run) == {NULL: job.handle}


def test_a_list_of_jobs_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    run.jobs.mkdir()
    with pytest.raises(RecordError) as caught:
        _known_jobs(run)
    assert str(caught.value) == (
        f"{run.jobs}: the list of submitted jobs cannot be read (Is a directory); mend that, or "
        "move it away to begin it anew"
    )


@pytest.mark.parametrize("way", ["zeros", "another_type", "wrong_shape", "no_utf8", "deep"])
def test_a_damaged_log_of_completions_is_named_with_its_line(way: str, tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    append_answers(path, 3)
    first = path.read_bytes().split(b"\n")[0]
    DAMAGES[way](path)
    path.write_bytes(first + b"\n" + path.read_bytes() + b"\n")
    with pytest.raises(RecordError) as caught:
        CompletionLog(path, 1)
    assert re.fullmatch(
        rf"{path}, line 2: found damaged JSON \(.+\), expected one completion; move the log away "
        "to generate anew",
        str(caught.value),
    )


def test_a_log_of_completions_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    path.mkdir()
    with pytest.raises(RecordError) as caught:
        read_completions(path)
    assert str(caught.value) == (
        f"{path}: the log of completions cannot be read (Is a directory); mend that, or move it "
        "away to generate anew"
    )


def test_a_log_of_completions_cut_anywhere_keeps_every_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    answer = Completion(text="zwölf")
    with CompletionLog(path, 1) as log:
        for number in range(3):
            log.append(question(number), answer)
    content = path.read_bytes()
    for keep in range(0, len(content), 7):
        path.write_bytes(content[:keep])
        with CompletionLog(path, 1) as log:
            whole = content[:keep].count(b"\n")
            assert log.find(question(whole)) is None
            log.append(question(whole), answer)
        assert len(read_completions(path)) == whole + 1


# Records and what status shows ----------------------------------------------------------------


@WAYS
def test_a_damaged_record_makes_its_own_cell_unknown_and_no_other(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(tmp_path)
    for cell in run.open().cells:
        finish(run, cell)
    DAMAGES[way](run.cell(MINE).record)
    assert main(["status", str(run.path)]) == 0
    base, mine, null, total = capsys.readouterr().out.splitlines()
    assert base.split() == [BASE, "score", "25.0"]
    assert null.split() == [NULL, "score", "25.0"]
    assert mine.startswith(f"{MINE}  done, but {run.cell(MINE).record}: ")
    assert total == "3 of 3 cells done"


@WAYS
@pytest.mark.parametrize("file", ["live.json", "progress.json"])
def test_status_survives_what_it_only_shows(way: str, file: str, supervised: Supervised) -> None:
    stage = "solve" if file == "live.json" else "generate"
    supervised.folder.path.mkdir(parents=True)
    append_event(supervised.folder.journal, "started", 1, stage=stage, attempt=1)
    attempt = supervised.folder.attempt("solve", 1)
    live_agent(attempt)
    path = attempt / file if stage == "solve" else supervised.folder.stage("generate") / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"deadline_unix_s": 5, "done": 1, "total": 2, "text": "x"}', "utf-8")
    DAMAGES[way](path)
    status = cell_status(supervised.run, supervised.run.open().cell(NULL))
    assert describe_status(status).startswith(stage)


def test_a_cells_folder_that_is_a_file_is_named_by_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(tmp_path)
    (run.path / "cells").mkdir()
    run.cell(MINE).path.write_bytes(b"")
    assert main(["status", str(run.path)]) == 0
    assert f"{NULL}  waiting" in capsys.readouterr().out


def test_the_status_of_a_cell_whose_disk_fails_is_unknown(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervised.supervise(prepare=done)
    cell = supervised.run.open().cell(NULL)

    def fails(_path: Path) -> bytes:
        raise OSError(5, "Input/output error", "claims/000001.json")

    monkeypatch.setattr(Path, "read_bytes", fails)
    assert describe_status(cell_status(supervised.run, cell)) == (
        "unknown: claims/000001.json cannot be read (Input/output error)"
    )


def test_completions_that_changed_since_they_were_made_are_not_scored(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    append_answers(path, 3)
    before = file_sha256(path)
    require_unchanged(path, before)
    require_unchanged(path, "")
    path.write_bytes(path.read_bytes().replace(b"xxx", b"yyy", 1))
    with pytest.raises(RecordError) as caught:
        require_unchanged(path, before)
    remedy = (
        "restore it from a copy, or move it and the done.json beside it away and run the plan "
        "again to have it made anew"
    )
    assert str(caught.value) == (
        f"{path} has changed since the checkpoint answered: sha256 {before[:12]} then, "
        f"{file_sha256(path)[:12]} now; {remedy}"
    )
    path.unlink()
    with pytest.raises(RecordError) as caught:
        require_unchanged(path, before)
    assert str(caught.value) == (
        f"{path} cannot be read (No such file or directory); mend that, or {remedy}"
    )
