"""A disk that is really full: a sentence, nothing lost, and the work goes on once there is room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from ptb_core.atomic import create_exclusive, write_bytes
from ptb_core.catalogue import Catalogue
from ptb_core.cli.main import main
from ptb_core.disk.faults import DiskFaultError, disk_fault, naming_disk_faults
from ptb_core.driver import drive, supervisor_argv
from ptb_core.errors import PtbError, SandboxError
from ptb_core.evaluation.completion_log import CompletionLog, read_completions
from ptb_core.evaluation.exchange import Completion
from ptb_core.evaluation.questions import Question
from ptb_core.evidence import collect_workspace
from ptb_core.journal import append_event, read_events
from ptb_core.record_store import read_record, write_record
from ptb_core.run_folder import RunFolder
from ptb_core.seal import seal_submission
from ptb_core.stages.context import StageContext
from ptb_core.stages.record import record_failure
from ptb_core.status import cell_status, describe_status

from ..checkpoint_files import base_arrays, model_spec, write_checkpoint
from ..core.small_run import BASE, NULL, record_of, small_run
from ..core.test_driver import MemoryExecutor, OneExecutor
from ..plan.conftest import PLAN
from .conftest import DISK_BYTES, Supervised, done, fill, free

ROOM_FOR_SOME_ANSWERS = 64 << 10
REMEDY = "what is done is kept, and `ptb run` on the run folder goes on from there"


def full(path: Path) -> str:
    return f"the disk is full at {path} (No space left on device); free space there; {REMEDY}"


def filling(disk: Path) -> Callable[[StageContext], object]:
    def stage(context: StageContext) -> object:
        fill(disk)
        return done(context)

    return stage


# One cell -------------------------------------------------------------------------------------


def test_a_marker_that_cannot_be_written_leaves_the_cell_unfinished(
    on_disk: Supervised, disk: Path
) -> None:
    with pytest.raises(DiskFaultError) as caught:
        on_disk.supervise(prepare=done, judge=filling(disk))
    marker = on_disk.folder.attempt_marker("judge", 1)
    assert str(caught.value) == f"{NULL}: {full(marker)}"
    assert caught.value.exit_code == 1
    assert not on_disk.folder.marker("judge").exists()
    assert not on_disk.folder.record.exists()
    assert ("failed", "judge", 1) not in on_disk.events()


def test_the_cell_goes_on_where_it_stood_once_there_is_room(
    on_disk: Supervised, disk: Path
) -> None:
    with pytest.raises(DiskFaultError):
        on_disk.supervise(prepare=done, judge=filling(disk))
    free(disk)
    on_disk.supervise(prepare=done, judge=done)
    assert on_disk.calls == ["prepare-1", "judge-1", "judge-2"]
    assert on_disk.events()[-1] == ("done", "judge", 2)


def test_a_full_disk_is_never_counted_as_a_failure_of_the_stage(
    on_disk: Supervised, disk: Path
) -> None:
    fill(disk)
    for _ in range(4):
        with pytest.raises(DiskFaultError):
            on_disk.supervise(prepare=done)
    assert on_disk.calls == []
    free(disk)
    on_disk.supervise(prepare=done)
    assert not on_disk.folder.record.exists()


def append_notes(journal: Path) -> None:
    for _ in range(100):  # the block that the file has already takes some of them
        append_event(journal, "note", 1, text="x" * 100)


def test_a_journal_that_cannot_be_written_is_named_and_keeps_its_lines(disk: Path) -> None:
    journal = disk / "journal.jsonl"
    append_event(journal, "claimed", 1)
    fill(disk)
    with pytest.raises(DiskFaultError) as caught, naming_disk_faults("cell", disk):
        append_notes(journal)
    assert str(caught.value) == f"cell: {full(journal)}"
    before = len(read_events(journal))
    free(disk)
    append_event(journal, "done", 1)
    events = read_events(journal)
    assert [event.event for event in events] == ["claimed", *["note"] * (before - 1), "done"]


def test_a_record_that_cannot_be_written_leaves_the_former_one(
    on_disk: Supervised, disk: Path
) -> None:
    cell = on_disk.run.open().cell(NULL)
    on_disk.folder.path.mkdir(parents=True, exist_ok=True)
    write_record(on_disk.folder.record, record_of(cell))
    before = on_disk.folder.record.read_bytes()

    def failing_to_record(context: StageContext) -> object:
        fill(disk)
        record_failure(context, "why")
        return done(context)

    with pytest.raises(DiskFaultError) as caught:
        on_disk.supervise(prepare=failing_to_record)
    assert (
        str(caught.value) == f"{NULL}: {full(on_disk.folder.attempt('prepare', 1) / 'record.json')}"
    )
    assert on_disk.folder.record.read_bytes() == before
    free(disk)
    on_disk.supervise(prepare=lambda context: record_failure(context, "why"))
    assert read_record(on_disk.folder.record).reason == "why"


def test_a_claim_that_cannot_be_written_leaves_no_litter(on_disk: Supervised, disk: Path) -> None:
    on_disk.folder.claims.mkdir(parents=True)
    fill(disk)
    with pytest.raises(DiskFaultError) as caught:
        on_disk.supervise(prepare=done)
    assert str(caught.value) == f"{NULL}: {full(on_disk.folder.claims / '000001.json')}"
    assert list(on_disk.folder.claims.iterdir()) == []


def test_an_error_that_a_full_disk_caused_is_a_full_disk_whatever_it_is_called(
    on_disk: Supervised, disk: Path
) -> None:
    def seal_badly(context: StageContext) -> object:
        fill(disk)
        try:
            write_bytes(context.attempt_dir / "copy", b"x" * 10_000)
        except OSError as error:
            raise SandboxError("the copy failed") from error
        return done(context)

    with pytest.raises(DiskFaultError) as caught:
        on_disk.supervise(seal=seal_badly)
    copy = on_disk.folder.attempt("seal", 1) / "copy"
    assert str(caught.value) == f"{NULL}: {full(copy)}"


def test_an_error_that_only_came_later_is_not_the_disks() -> None:
    unrelated = ValueError("another")
    unrelated.__context__ = OSError(28, "No space left on device")
    assert disk_fault(unrelated) is unrelated.__context__
    unrelated.__suppress_context__ = True
    assert disk_fault(unrelated) is None
    assert disk_fault(OSError(2, "No such file or directory")) is None


def test_status_says_that_an_interrupted_cell_goes_on(on_disk: Supervised, disk: Path) -> None:
    with pytest.raises(DiskFaultError):
        on_disk.supervise(prepare=done, judge=filling(disk))
    status = cell_status(on_disk.run, on_disk.run.open().cell(NULL))
    assert describe_status(status) == "judge, no supervisor (`ptb run` continues it)"


def test_a_supervisor_as_a_process_says_it_on_standard_error_and_exits_with_one(
    on_disk: Supervised, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(disk)
    assert main(supervisor_argv(on_disk.run.path, on_disk.run.open().cell(NULL))[3:]) == 1
    said = capsys.readouterr().err
    assert said == f"ptb: {NULL}: {full(on_disk.folder.claims / '000001.json')}\n"


# Files of the stages --------------------------------------------------------------------------


def question(number: int) -> Question:
    return Question(
        sample=f"s{number}",
        call=0,
        calls=1,
        request=None,
        body={},
        digest=f"d{number}",  # type: ignore[arg-type]
    )


ANSWER = Completion(text="x" * 3000)


def append_answers(path: Path, count: int) -> None:
    with CompletionLog(path, 1) as log:
        for number in range(count):
            log.append(question(number), ANSWER)


def test_completions_written_before_the_disk_was_full_are_kept_and_go_on(disk: Path) -> None:
    path = disk / "completions.jsonl"
    (disk / "ballast").write_bytes(b"\0" * (DISK_BYTES - ROOM_FOR_SOME_ANSWERS))
    with pytest.raises(OSError, match="No space left") as caught:
        append_answers(path, 1000)
    assert caught.value.filename == str(path)
    kept = len(read_completions(path))
    assert 0 < kept < 1000
    free(disk)
    with CompletionLog(path, 1) as log:
        assert log.find(question(kept - 1)) == ANSWER
        assert log.find(question(kept)) is None
        log.append(question(kept), ANSWER)
    assert len(read_completions(path)) == kept + 1


def test_evidence_is_never_thinned_out_by_a_full_disk(disk: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "train.py").write_text("print()\n" * 1000, "utf-8")
    fill(disk)
    with pytest.raises(OSError, match="No space left on device"):
        collect_workspace(workspace, disk / "evidence", "final_model")


def test_a_submission_that_does_not_fit_is_no_refusal_and_leaves_no_part(
    disk: Path, tmp_path: Path
) -> None:
    base = write_checkpoint(tmp_path / "base")
    write_checkpoint(tmp_path / "workspace" / "final_model", base_arrays(seed=1))
    fill(disk)
    (disk / "sealed").mkdir()
    with pytest.raises(PtbError) as caught:
        seal_submission(
            tmp_path / "workspace", disk / "sealed" / "submission", None, base, model_spec()
        )
    assert str(caught.value) == (
        f"the submission could not be copied to {disk}/sealed/submission: No space left on device; "
        "this is no fault of the submission: free space or mend the disk and seal again"
    )
    assert disk_fault(caught.value) is not None
    assert list((disk / "sealed").iterdir()) == []
    free(disk)
    sealed = seal_submission(
        tmp_path / "workspace", disk / "sealed" / "submission", None, base, model_spec()
    )
    assert sealed.path.is_dir()


# ptb run --------------------------------------------------------------------------------------


def test_ptb_run_refuses_to_begin_on_a_full_disk_and_begins_later(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent.py").write_text("", "utf-8")
    (tmp_path / "plan.json").write_text(json.dumps(PLAN), "utf-8")
    fill(disk)
    arguments = ["run", "--plan", str(tmp_path / "plan.json"), "--run-dir", str(disk / "run")]
    arguments.append("--ignore-disk")
    assert main(arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"ptb: the run folder {disk}/run cannot be written: No space left on device; "
        "name another one with --run-dir, or mend that"
    )
    free(disk)
    monkeypatch.setattr("ptb_core.driver.drive", lambda *_: True)
    monkeypatch.setattr("ptb_core.cli.run._show_leaderboard", lambda _: None)
    assert main(arguments) == 0
    assert RunFolder(disk / "run").open().plan.name == PLAN["name"]


def test_a_head_whose_writer_was_killed_half_way_does_not_block_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.0123abcd.tmp").write_bytes(b'{"run_id": "12')
    assert small_run(tmp_path).open().plan.name == PLAN["name"]


def test_a_command_line_that_cannot_note_a_job_leaves_running_cells_alone(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is full all the same, though the guard had seen room."""
    monkeypatch.setattr("ptb_core.disk.gate.DiskGate.admits", lambda *_: True)
    run = small_run(disk)
    fill(disk)
    executor = MemoryExecutor()
    catalogue = cast(Catalogue, OneExecutor(executor))
    with pytest.raises(DiskFaultError) as caught:
        drive(run, run.open(), catalogue, lambda _: None)
    assert str(caught.value) == f"the run was left: {full(run.jobs)}"
    assert (executor.submitted, executor.cancelled) == ([BASE], [])


def test_create_exclusive_leaves_nothing_on_a_full_disk(disk: Path) -> None:
    fill(disk)
    with pytest.raises(OSError, match="No space left on device") as caught:
        create_exclusive(disk / "file.json", b"x" * 100)
    assert caught.value.filename == str(disk / "file.json")
    assert [path.name for path in disk.iterdir()] == ["ballast"]
