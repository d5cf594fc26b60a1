"""The guard: before a run, while it is driven, and before each step that takes room."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ptb_core import driver
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.claims import take_claim
from ptb_core.cli.main import main
from ptb_core.disk import gate as gate_module
from ptb_core.disk import outlook as outlook_module
from ptb_core.disk import waiting
from ptb_core.disk.gate import DiskGate
from ptb_core.disk.needs import live_need
from ptb_core.disk.outlook import (
    DiskTooSmallError,
    Outlook,
    describe_outlook,
    outlook,
    refuse_too_small,
    settled_cells,
)
from ptb_core.disk.space import NOTHING, Need, Space
from ptb_core.disk.waiting import wait_for_room
from ptb_core.errors import ClaimLostError
from ptb_core.journal import read_events
from ptb_core.json_codec import to_builtins
from ptb_core.run_folder import RunFolder
from ptb_core.sizes import GIB, MIB
from ptb_core.stages.context import CellStoppedError, StageContext
from ptb_core.stages.prepare import prepare
from ptb_core.stages.solve import solve
from ptb_core.status import CellStatus, cell_status, describe_status

from ..core.small_run import BASE, MINE, NULL, finish, small_run, write_marker
from ..core.test_driver import MemoryExecutor, OneExecutor
from ..faults.conftest import fill, free

KIB = 1024


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return small_run(tmp_path)


def space(size: int, device: int = 1, path: str = "/disk") -> Space:
    return Space(path=Path(path), bytes=size, inodes=None, device=device)


# Waiting --------------------------------------------------------------------------------------


def context_of(
    run: RunFolder, check_claim: Callable[[], None] = lambda: None, cell: str = NULL
) -> StageContext:
    folder = run.cell(cell)
    attempt = folder.attempt("seal", 1)
    attempt.mkdir(parents=True, exist_ok=True)
    head = run.open()
    return StageContext(
        run=head,
        run_folder=run,
        folder=folder,
        cell=head.cell(cell),
        catalogue=load_catalogue(),
        fence=1,
        attempt=1,
        attempt_dir=attempt,
        check_claim=check_claim,
        stopping=threading.Event(),
    )


def notes(run: RunFolder) -> list[str]:
    return [event.text for event in read_events(run.cell(NULL).journal)]


def test_with_room_a_step_begins_at_once_and_nothing_is_said(run: RunFolder) -> None:
    wait_for_room(context_of(run), "seal", Need(bytes=1, inodes=1))
    assert notes(run) == []


def test_a_supervisor_waits_on_a_full_disk_and_goes_on_once_there_is_room(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.0)
    run = small_run(disk)
    looks = 0
    seen: list[str] = []

    def look() -> None:
        nonlocal looks
        looks += 1
        status = cell_status(run, run.open().cell(NULL))
        seen.append(describe_status(status))
        if looks == 3:
            free(disk)

    context = context_of(run, look)
    held = take_claim(context.folder.claims)
    assert held is not None
    (disk / "ballast").write_bytes(b"\0" * 700 * KIB)
    wait_for_room(context, "seal", Need(bytes=512 * KIB, inodes=1))
    held.release()
    first, last = notes(run)
    assert first.startswith("waiting for disk space: needs 0.5 MiB, 0.")
    assert first.endswith(f" MiB free at {run.path}")
    assert last == "there is disk space again"
    assert seen == [f"seal, {first}"] * 3, "and `ptb status` says so"
    assert cell_status(run, run.open().cell(NULL)).waits == ""


def test_a_wait_is_over_when_the_supervisor_is(run: RunFolder, monkeypatch: Any) -> None:
    context = context_of(run)
    context.note("seal", "waiting for disk space: x", {waiting.WAITING: True})
    assert cell_status(run, run.open().cell(NULL)).waits == ""


def test_whoever_waits_can_be_stopped(run: RunFolder) -> None:
    context = context_of(run)
    context.stopping.set()
    with pytest.raises(CellStoppedError, match="was stopped; `ptb run` continues it"):
        wait_for_room(context, "seal", Need(bytes=2**80, inodes=1))


def test_whoever_waits_notices_that_the_cell_was_taken_over(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.0)

    def lost() -> None:
        raise ClaimLostError("taken")

    with pytest.raises(ClaimLostError):
        wait_for_room(context_of(run, lost), "seal", Need(bytes=2**80, inodes=1))


def test_where_nobody_can_say_nobody_waits(run: RunFolder, monkeypatch: Any) -> None:
    def fail(_: Path) -> Space:
        raise OSError("no statvfs here")

    monkeypatch.setattr(waiting, "space_at", fail)
    wait_for_room(context_of(run), "seal", Need(bytes=2**80, inodes=1))
    assert notes(run) == []


@pytest.mark.parametrize("stage", ["solve", "seal", "generate"])
def test_each_stage_that_takes_room_waits_before_it_does_anything(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    import ptb_core.stages.generate
    import ptb_core.stages.seal
    import ptb_core.stages.solve
    from ptb_core.stages.context import Prepared

    from ..retention.made_cells import work

    folder = work(run, run.open().cell(NULL))
    prepared = Prepared(
        base_model=Path("/base"), model_revision="r", data_files={}, prompts={}, revisions={}
    )
    write_marker(folder.marker("prepare"), "prepare", to_builtins(prepared))

    class WaitedError(Exception):
        pass

    def wait(context: StageContext, asked: str, need: Need) -> None:
        assert asked == stage
        assert need.bytes > 2 * MIB
        raise WaitedError

    module = getattr(ptb_core.stages, stage)
    monkeypatch.setattr(module, "wait_for_room", wait)
    attempt = folder.attempt(stage, 2)
    attempt.mkdir(parents=True)
    context = replace(context_of(run), attempt=2, attempt_dir=attempt)
    with pytest.raises(WaitedError):
        getattr(module, stage)(context)
    assert list(attempt.iterdir()) == []


# The driver's gate ----------------------------------------------------------------------------


class Gate:
    """A gate before a disk whose room the test sets, in units of one cell's need."""

    def __init__(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.free = 0.0
        self.run = run.open()
        catalogue = load_catalogue()
        model = catalogue.model("tiny-qwen3")
        self.need = live_need(self.run.plan, self.run.cell(NULL), model).bytes
        monkeypatch.setattr(gate_module, "space_at", lambda _: space(int(self.free * self.need)))
        self.gate = DiskGate(run, self.run.plan, catalogue, self.said.append)

    def round(self, *busy: tuple[str, str], starts: tuple[str, ...]) -> list[bool]:
        statuses = [
            CellStatus(cell=self.run.cell(name), stage=stage, attempt=1, is_alive=True)
            for name, stage in busy
        ]
        self.gate.look(statuses)
        return [self.gate.admits(self.run.cell(name)) for name in starts]


@pytest.fixture
def gate(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(run, monkeypatch)


def test_cells_start_while_there_is_room_for_each(gate: Gate) -> None:
    gate.free = 2.5
    assert gate.round(starts=(MINE, NULL)) == [True, True]
    gate.free = 1.5
    assert gate.round(starts=(MINE, NULL)) == [True, False]


@pytest.mark.parametrize("stage", ["waiting", "prepare", "solve", "seal"])
def test_a_cell_that_runs_is_to_have_its_room_too(gate: Gate, stage: str) -> None:
    gate.free = 1.5
    assert gate.round((MINE, stage), starts=(NULL,)) == [False]


@pytest.mark.parametrize("stage", ["generate", "score", "judge", "record"])
def test_a_cell_that_is_sealed_has_taken_its_room(gate: Gate, stage: str) -> None:
    gate.free = 1.5
    assert gate.round((MINE, stage), starts=(NULL,)) == [True]


def test_it_says_once_that_nothing_is_started_and_once_that_it_goes_on(gate: Gate) -> None:
    gate.free = 0.0
    for _ in range(3):
        assert gate.round(starts=(NULL,)) == [False]
    assert gate.said == [
        f"no new cell is started for want of disk space: {NULL} needs "
        f"{gate.need / MIB:.1f} MiB, 0.0 MiB free at /disk"
    ]
    gate.free = 1.0
    for _ in range(2):
        assert gate.round(starts=(NULL,)) == [True]
    assert gate.said[1:] == ["there is disk space again: cells are started"]


def test_where_nobody_can_say_everything_starts(gate: Gate, monkeypatch: Any) -> None:
    def fail(_: Path) -> Space:
        raise OSError("no statvfs here")

    monkeypatch.setattr(gate_module, "space_at", fail)
    assert gate.round(starts=(NULL,)) == [True]


def test_the_driver_starts_nothing_on_a_full_disk_and_goes_on_once_there_is_room(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "POLL_S", 0.0)
    free_bytes = 0
    monkeypatch.setattr(gate_module, "space_at", lambda _: space(free_bytes))
    executor = MemoryExecutor()
    head = run.open()
    rounds = 0

    def step(_: tuple[CellStatus, ...]) -> None:
        nonlocal rounds, free_bytes
        rounds += 1
        if rounds < 5:
            assert executor.submitted == []
        if rounds == 4:
            free_bytes = GIB
        if rounds == 6:
            for number, cell in enumerate(head.cells, start=1):
                finish(run, cell)
                executor.states[f"job-{number}"] = "ended"

    assert driver.drive(run, head, cast(Catalogue, OneExecutor(executor)), step)
    assert executor.submitted == [BASE, MINE, NULL]
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"ptb: no new cell is started for want of disk space: {BASE} needs ")
    assert second == "ptb: there is disk space again: cells are started"


# Before the run -------------------------------------------------------------------------------


def made(run: RunFolder, **changes: Any) -> Outlook:
    facts: dict[str, Any] = {
        "plan": run.open().plan,
        "place": run.path,
        "space": space(100 * GIB),
        "cells": 8,
        "live": Need(bytes=24 * GIB, inodes=0),
        "kept": Need(bytes=64 * GIB, inodes=0),
        "least": Need(bytes=72 * GIB, inodes=0),
        "likely": Need(bytes=88 * GIB, inodes=0),
        "cache": NOTHING,
        "cache_space": space(100 * GIB),
    }
    return Outlook(**(facts | changes))


def test_a_disk_with_room_is_described_and_no_more(run: RunFolder) -> None:
    assert describe_outlook(made(run)) == [
        "disk: up to 24.0 GiB for a cell while it runs, 64.0 GiB stay of 8 agent cells "
        "(checkpoints all); 100.0 GiB free at /disk"
    ]


def test_a_run_that_is_done_needs_no_word_about_the_disk(run: RunFolder) -> None:
    assert describe_outlook(made(run, cells=0, live=NOTHING, kept=NOTHING)) == []


def test_a_disk_that_is_clearly_too_small_is_refused_before_anything_starts(
    run: RunFolder,
) -> None:
    small = made(run, space=space(71 * GIB))
    with pytest.raises(DiskTooSmallError) as caught:
        refuse_too_small(small)
    assert str(caught.value) == (
        "the plan 'small' does not fit on the disk; nothing was started: the run needs 72.0 GiB, "
        "71.0 GiB free at /disk; let checkpoints go with retention.checkpoints, free space, or "
        "name a larger disk with --run-dir. `--ignore-disk` runs it all the same, and cells then "
        "wait for room"
    )
    assert caught.value.exit_code == 2
    assert small.warning == ""


def test_the_remedy_names_no_rule_that_is_in_force(tmp_path: Path) -> None:
    run = small_run(tmp_path, retention={"checkpoints": "after-verdict"})
    assert made(run, space=space(1)).refusal == (
        "the run needs 72.0 GiB, 0.0 MiB free at /disk; free space, or name a larger disk with "
        "--run-dir"
    )


def test_a_tight_disk_is_warned_of_and_not_refused(run: RunFolder) -> None:
    tight = made(run, space=space(80 * GIB))
    refuse_too_small(tight)
    assert describe_outlook(tight)[1:] == [
        "the disk is tight: the run needs 88.0 GiB, 80.0 GiB free at /disk when all goes well; "
        "cells wait while it is full"
    ]


def test_models_to_fetch_take_room_on_the_same_disk(run: RunFolder) -> None:
    fetching = made(run, space=space(75 * GIB), cache=Need(bytes=4 * GIB, inodes=0))
    assert "; models to fetch 4.0 GiB; 75.0 GiB free at /disk" in fetching.sentence
    assert fetching.refusal.startswith("the run needs 76.0 GiB, 75.0 GiB free at /disk")


def test_a_cache_on_another_disk_needs_room_there(run: RunFolder) -> None:
    fetching = made(
        run,
        space=space(75 * GIB),
        cache=Need(bytes=4 * GIB, inodes=0),
        cache_space=space(3 * GIB, device=2, path="/cache"),
    )
    assert fetching.refusal == (
        "fetching its models needs 4.0 GiB, 3.0 GiB free at /cache; free space, or name another "
        "cache with PTB_CACHE"
    )
    assert made(run, cache_space=space(0, device=2)).refusal == "", "nothing is to be fetched"


def test_what_is_not_known_is_said(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> Space:
        raise OSError("no statvfs here")

    monkeypatch.setattr(outlook_module, "space_at", fail)
    found = outlook(run.open().plan, load_catalogue(), run.path)
    assert describe_outlook(found) == ["disk: its file system does not say how much room there is"]


@pytest.mark.parametrize(("checkpoints", "stays"), [("all", 2), ("after-verdict", 0)])
def test_the_outlook_of_a_small_run_adds_up(tmp_path: Path, checkpoints: str, stays: int) -> None:
    run = small_run(tmp_path, retention={"checkpoints": checkpoints})
    plan, catalogue = run.open().plan, load_catalogue()
    size = catalogue.model("tiny-qwen3").parameters * 2
    found = outlook(plan, catalogue, run.path)
    assert found is not None
    assert found.cells == 2
    assert found.kept.bytes == 3 * MIB + stays * size
    others = found.kept.bytes - MIB - stays * size // 2
    assert found.least.bytes == others + 2 * size
    slots = catalogue.executor("local").slots(plan.executor.settings)
    assert slots is not None
    assert found.likely.bytes == found.kept.bytes + min(slots, 3) * found.live.bytes
    assert found.cache == NOTHING, "the shipped model is fetched from nowhere"


def test_a_model_that_is_not_in_the_cache_is_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_CACHE", str(tmp_path / "cache"))
    run = small_run(tmp_path, models=["qwen3-4b-base"])
    found = outlook(run.open().plan, load_catalogue(), run.path)
    assert found is not None
    assert round(found.cache.bytes / GIB, 1) == 7.5
    (tmp_path / "cache/hub/models/Qwen/Qwen3-4B-Base").mkdir(parents=True)
    found = outlook(run.open().plan, load_catalogue(), run.path)
    assert found is not None
    assert found.cache == NOTHING


def test_cells_that_are_sealed_need_no_more_room(run: RunFolder) -> None:
    plan = run.open().plan
    assert settled_cells(run, plan) == frozenset()
    write_marker(run.cell(NULL).marker("seal"), "seal", {})
    write_marker(run.cell(MINE).marker("solve"), "solve", {})
    write_marker(run.cell(BASE).marker("record"), "record", {})
    assert settled_cells(run, plan) == {NULL, BASE}
    found = outlook(plan, load_catalogue(), run.path, settled_cells(run, plan))
    assert found is not None
    assert found.cells == 1


def test_a_run_whose_cells_are_all_sealed_needs_nothing(run: RunFolder) -> None:
    plan = run.open().plan
    found = outlook(plan, load_catalogue(), run.path, [cell.id for cell in plan.cells])
    assert found is not None
    assert (found.least, found.likely, found.refusal) == (NOTHING, NOTHING, "")


def big_plan(tmp_path: Path) -> Path:
    small_run(tmp_path / "other", models=["qwen3-4b-base"], repeats=1000)
    return tmp_path / "other" / "plan.json"


def test_ptb_run_refuses_and_makes_no_run_folder_unless_the_disk_is_to_be_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    plan, run = big_plan(tmp_path), tmp_path / "new"
    monkeypatch.setattr(outlook_module, "space_at", lambda _: space(GIB))
    arguments = ["run", "--plan", str(plan), "--run-dir", str(run)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "ptb: the plan 'small' does not fit on the disk; nothing was started: the run needs "
    )
    assert not run.exists()
    monkeypatch.setattr("ptb_core.driver.drive", lambda *_: True)
    monkeypatch.setattr("ptb_core.cli.run._show_leaderboard", lambda _: None)
    assert main([*arguments, "--ignore-disk"]) == 0
    assert "disk: up to " in capsys.readouterr().err
    assert run.exists()


def test_ptb_validate_prints_the_outlook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_run(tmp_path)
    monkeypatch.setattr(outlook_module, "space_at", lambda _: space(GIB))
    assert main(["validate", str(tmp_path / "plan.json")]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith("  disk: up to ")
    assert line.endswith("stay of 2 agent cells (checkpoints all); 1.0 GiB free at /disk")


def test_a_full_disk_is_a_full_disk_to_all_of_it(disk: Path) -> None:
    run = small_run(disk)
    fill(disk)
    plan = run.open().plan
    found = outlook(plan, load_catalogue(), run.path)
    assert found is not None
    assert found.refusal.endswith(
        f"0.0 MiB free at {run.path}; let checkpoints go with retention.checkpoints, free space, "
        "or name a larger disk with --run-dir"
    )
    said: list[str] = []
    gate = DiskGate(run, plan, load_catalogue(), said.append)
    gate.look(())
    assert not gate.admits(plan.cells[0])
    assert len(said) == 1


# Output ---------------------------------------------------------------------------------------


def test_what_is_kept_of_a_cell_says_how_much_of_its_agents_output_was_left_out(
    tmp_path: Path,
) -> None:
    run = small_run(tmp_path, sandbox={"name": "local", "settings": {"output_mib": 1}})
    program = Path(str(run.open().cell(MINE).agent.settings["program"]))  # type: ignore[union-attr]
    program.write_text(f"print('x' * {8 * MIB - 1})", "utf-8")
    context = context_of(run, cell=MINE)
    write_marker(context.folder.marker("prepare"), "prepare", to_builtins(prepare(context)))
    solved = solve(context)
    assert solved.solve.outcome == "finished"
    assert solved.solve.detail.endswith("; 3.0 MiB of its output were left out")
    kept = (context.attempt_dir / "agent.stdout").read_bytes()
    assert 5 * MIB < len(kept) < 5 * MIB + 100
