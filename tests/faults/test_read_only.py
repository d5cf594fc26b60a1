"""A run folder on a file system that is read-only: it can be read, and the rest says why not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import cast

import msgspec
import pytest

from ptb_core.catalogue import Catalogue
from ptb_core.claims import Claim
from ptb_core.cli.main import main
from ptb_core.disk.faults import DiskFaultError
from ptb_core.driver import drive

from ..core.small_run import BASE, NULL, finish, small_run
from ..core.test_driver import MemoryExecutor, OneExecutor
from .conftest import Supervised, done, set_writable
from .test_full_disk import REMEDY


def read_only(path: Path) -> str:
    return (
        f"the file system is read-only at {path} (Read-only file system); make it writable; "
        f"{REMEDY}"
    )


def test_status_and_leaderboard_need_no_right_to_write(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(disk)
    finish(run, run.open().cell(BASE))
    run.cell(NULL).claims.mkdir(parents=True)
    elsewhere = Claim(number=1, host="elsewhere", boot="b", pid=1, started=1, token="t")
    (run.cell(NULL).claims / "000001.json").write_bytes(msgspec.json.encode(elsewhere))
    set_writable(disk, False)
    assert main(["status", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 cells done" in said
    assert "unknown" not in said
    assert main(["leaderboard", str(run.path)]) == 0


def test_a_supervisor_stops_with_a_sentence_and_goes_on_later(
    on_disk: Supervised, disk: Path
) -> None:
    on_disk.supervise(prepare=done)
    set_writable(disk, False)
    with pytest.raises(DiskFaultError) as caught:
        on_disk.supervise(prepare=done, judge=done)
    assert str(caught.value) == f"{NULL}: {read_only(on_disk.folder.claims / '000002.json')}"
    set_writable(disk, True)
    on_disk.supervise(prepare=done, judge=done)
    assert on_disk.calls == ["prepare-1", "judge-1"]


def test_a_disk_that_becomes_read_only_during_a_stage_fails_no_stage(
    on_disk: Supervised, disk: Path
) -> None:
    def closing(context: object) -> object:
        set_writable(disk, False)
        raise ValueError("because of it, or not: nobody can note it")

    with pytest.raises(DiskFaultError) as caught:
        on_disk.supervise(judge=closing)
    assert str(caught.value) == f"{NULL}: {read_only(on_disk.folder.journal)}"
    set_writable(disk, True)
    shutil.rmtree(on_disk.folder.claims)  # the process that held it, this one, would be gone
    on_disk.supervise(judge=done)
    assert on_disk.events()[-1] == ("done", "judge", 2)
    assert not on_disk.folder.record.exists()


def test_ptb_run_starts_nothing_and_says_why(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptb_core.disk.gate.DiskGate.admits", lambda *_: True)
    run = small_run(disk)
    set_writable(disk, False)
    executor = MemoryExecutor()
    with pytest.raises(DiskFaultError) as caught:
        drive(run, run.open(), cast(Catalogue, OneExecutor(executor)), lambda _: None)
    assert re.fullmatch(
        rf"the run was left: the file system is read-only at {run.path}/cells\S* \(Read-only file "
        rf"system\); make it writable; {re.escape(REMEDY)}",
        str(caught.value),
    )
    assert executor.submitted == []


def test_ptb_run_shows_a_finished_run(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run(disk)
    for cell in run.open().cells:
        finish(run, cell, **({} if cell.kind == "base" else {"verdict": "clean"}))
    set_writable(disk, False)
    plan = str(disk / "plan.json")
    assert main(["run", "--plan", plan, "--run-dir", str(run.path), "--ignore-disk"]) == 0
    assert "mine" in capsys.readouterr().out


def test_a_new_run_is_refused_where_nothing_can_be_written(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(disk)
    set_writable(disk, False)
    plan, other = str(disk / "plan.json"), disk / "other"
    assert main(["run", "--plan", plan, "--run-dir", str(other), "--ignore-disk"]) == 2
    assert capsys.readouterr().err.endswith(
        f"ptb: the run folder {other} cannot be written: Read-only file system; name another one "
        "with --run-dir, or mend that\n"
    )
    assert run.open().plan.name == "small"


def test_cancelling_says_that_it_cannot_be_noted(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(disk)
    set_writable(disk, False)
    assert main(["cancel", str(run.path)]) == 1
    assert capsys.readouterr().err == (
        f"ptb: the file system is read-only at {run.cancelled} (Read-only file system); make it "
        "writable\n"
    )
