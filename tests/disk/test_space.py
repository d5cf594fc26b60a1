"""How much room there is and how much is needed, in exact words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.disk.needs import (
    OTHER,
    checkpoint_bytes,
    generate_need,
    kept_need,
    live_need,
    seal_need,
    solve_need,
)
from ptb_core.disk.space import Need, Space, space_at
from ptb_core.plan.model import Retention
from ptb_core.run_folder import RunFolder
from ptb_core.sandboxing import SealedFile
from ptb_core.sizes import GIB, MIB, in_words
from ptb_core.specs import FileSource, ModelSpec

from ..core.small_run import BASE, NULL, small_run
from ..faults.conftest import fill


def model(parameters: int, size_gib: float | None = None) -> ModelSpec:
    return ModelSpec(
        name="m",
        title="m",
        description="-",
        source=FileSource(hub="a/b", size_gib=size_gib),
        family="qwen",
        chat_template="t",
        turn_end_tokens=(),
        architectures=("A",),
        parameters=parameters,
        context_tokens=1,
    )


def test_a_small_file_system_has_the_room_that_it_has(disk: Path) -> None:
    space = space_at(disk / "not" / "there" / "yet")
    assert space.path == disk
    assert 0 < space.bytes <= MIB
    fill(disk)
    assert space_at(disk).bytes == 0


def test_inodes_can_be_what_is_lacking(disk: Path) -> None:
    done = subprocess.run(
        ["mount", "-o", "remount,nr_inodes=3", str(disk)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("this kernel does not change a mounted file system's inodes")
    (disk / "a").touch()
    (disk / "b").touch()
    space = space_at(disk)
    assert space.inodes == 0
    assert Need(bytes=1, inodes=2).shortage(space) == (
        f"needs 2 inodes (files and folders), 0 free at {disk}"
    )


def space(size: int, inodes: int | None = 10) -> Space:
    return Space(path=Path("/disk"), bytes=size, inodes=inodes, device=1)


def test_a_shortage_says_what_is_needed_and_what_is_free_and_where() -> None:
    need = Need(bytes=int(8.1 * GIB), inodes=5)
    assert need.shortage(space(2 * GIB)) == "needs 8.1 GiB, 2.0 GiB free at /disk"
    assert need.shortage(space(9 * GIB)) == ""
    assert need.shortage(space(9 * GIB, 4)) == (
        "needs 5 inodes (files and folders), 4 free at /disk"
    )


@pytest.mark.parametrize(
    ("size", "inodes", "is_short"), [(100, 5, False), (99, 5, True), (100, 4, True)]
)
def test_exactly_enough_is_enough(size: int, inodes: int, is_short: bool) -> None:
    assert bool(Need(bytes=100, inodes=5).shortage(space(size, inodes))) is is_short


def test_a_file_system_that_does_not_count_inodes_lacks_none() -> None:
    assert Need(bytes=1, inodes=10**9).shortage(space(1, None)) == ""


def test_a_file_system_without_a_number_of_inodes_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = os.statvfs(tmp_path)
    without = os.statvfs_result((*facts[:5], 0, 0, 0, *facts[8:10]))
    monkeypatch.setattr(os, "statvfs", lambda _: without)
    assert space_at(tmp_path).inodes is None


def test_a_file_system_that_is_none_cannot_be_asked() -> None:
    with pytest.raises(OSError, match="no file system with room of its own: '/proc'"):
        space_at(Path("/proc/x"))


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0.0 MiB"), (MIB, "1.0 MiB"), (GIB - 1, "1024.0 MiB"), (GIB, "1.0 GiB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


# What cells need ------------------------------------------------------------------------------


def test_a_checkpoint_is_as_large_as_its_parameters_or_its_download() -> None:
    assert checkpoint_bytes(model(10**9)) == 2 * 10**9
    assert checkpoint_bytes(model(10**9, size_gib=3.0)) == 3 * GIB
    assert checkpoint_bytes(model(10**9, size_gib=0.1)) == 2 * 10**9


def test_the_published_models_take_3_to_8_gib() -> None:
    catalogue = load_catalogue()
    names = ("qwen3-1.7b-base", "qwen3-4b-base", "smollm3-3b-base", "gemma-3-4b-pt")
    sizes = [checkpoint_bytes(catalogue.model(name)) / GIB for name in names]
    assert [round(size, 1) for size in sizes] == [3.3, 7.5, 5.8, 8.1]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return small_run(tmp_path)


def test_an_agent_holds_two_checkpoints_and_we_a_third(run: RunFolder) -> None:
    plan = run.open().plan
    m = model(10**9)
    assert solve_need(plan, m).bytes == 4 * 10**9 + OTHER.bytes
    assert live_need(plan, plan.cells[1], m).bytes == 6 * 10**9 + OTHER.bytes
    assert live_need(plan, plan.cells[0], m) == OTHER, "a base cell writes no checkpoint"


@pytest.mark.parametrize(("limit", "expected"), [(1.0, GIB), (500.0, 4 * 10**9)])
def test_a_disk_limit_makes_the_need_less_and_never_more(
    tmp_path: Path, limit: float, expected: int
) -> None:
    sandbox = {"name": "local", "limits": {"disk_gib": limit}}
    plan = small_run(tmp_path, sandbox=sandbox).open().plan
    assert solve_need(plan, model(10**9)).bytes == expected + OTHER.bytes


def frozen(name: str, size: int) -> SealedFile:
    return SealedFile(path=f"final_model/{name}", size=size, sha256="0" * 64)


def test_the_seal_needs_what_lies_there_and_the_base_for_an_adapter() -> None:
    files = (frozen("model.safetensors", 700), frozen("config.json", 50))
    assert seal_need(files, model(1000)) == OTHER + Need(bytes=750, inodes=2)
    adapter = (frozen("adapter_model.safetensors", 30),)
    assert seal_need(adapter, model(1000)) == OTHER + Need(bytes=2030, inodes=1)
    link = SealedFile(path="final_model/x", size=999, sha256="", type="link")
    assert seal_need((link,), model(1000)).bytes == OTHER.bytes


def test_answers_need_little() -> None:
    assert generate_need() == OTHER


@pytest.mark.parametrize(
    ("checkpoints", "workspaces", "copies"),
    [
        ("all", "without-copies", 1),
        ("all", "whole", 2),
        ("best", "without-copies", 0.25),
        ("after-verdict", "without-copies", 0),
        ("none", "whole", 0),
    ],
)
def test_what_stays_follows_the_rule(
    run: RunFolder, checkpoints: str, workspaces: str, copies: float
) -> None:
    retention = Retention(checkpoints=checkpoints, workspaces=workspaces)  # type: ignore[arg-type]
    cell = run.open().cell(NULL)
    kept = kept_need(retention, 4, cell, model(10**9)).bytes
    assert kept == MIB + int(copies * 2 * 10**9)
    assert kept_need(retention, 4, run.open().cell(BASE), model(10**9)).bytes == MIB
