"""What goes of a workspace, what crashes left, and what is never touched."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from ptb_core.atomic import write_json
from ptb_core.catalogue import load_catalogue
from ptb_core.journal import append_event
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import Command, ProcessHandle, SandboxRequest, SessionHandle
from ptb_core.stages.solve import LiveAgent

from ..core.small_run import write_marker
from .conftest import World
from .made_cells import MIB, cite_earlier, content, flagged, gone, mark, recorded, weights, work

OWN = "stages/solve/attempt-001/workspace/final_model/model.safetensors"


def test_the_agents_copy_of_sealed_weights_goes_and_nothing_else(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    before = content(folder.path)
    world.clean("all", "without-copies")
    assert gone(before, content(folder.path)) == {OWN}


def test_of_a_flagged_cell_only_the_copy_goes(world: World) -> None:
    folder = flagged(world.folder, world.cell(), "submission/model.safetensors")
    before = content(folder.path)
    world.clean("none", "without-weights")
    assert gone(before, content(folder.path)) == {OWN}


def test_weights_that_the_seal_did_not_take_are_no_copy(world: World) -> None:
    """An adapter that was merged, and shards that were left out, lie nowhere else."""
    folder = recorded(world.folder, world.cell())
    adapter = folder.attempt("solve", 1) / "workspace/final_model/adapter_model.safetensors"
    adapter.write_bytes(weights(b"b"))
    before = content(folder.path)
    world.clean("all", "without-copies")
    assert gone(before, content(folder.path)) == {OWN}


@pytest.mark.parametrize("place", ["old", "final_model"])
def test_weights_of_the_same_name_and_size_in_a_subfolder_are_no_copy(
    world: World, place: str
) -> None:
    folder = recorded(world.folder, world.cell())
    nested = folder.attempt("solve", 1) / f"workspace/final_model/{place}/model.safetensors"
    nested.parent.mkdir()
    nested.write_bytes(weights(b"b"))
    before = content(folder.path)
    world.clean("all", "without-copies")
    assert gone(before, content(folder.path)) == {OWN}


def test_a_copy_that_is_not_as_it_was_frozen_stays(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    os.truncate(folder.path / OWN, 100)
    before = content(folder.path)
    world.clean("all", "without-copies")
    assert content(folder.path) == before


@pytest.mark.parametrize("harm", ["absent", "cut", "other-digest"])
def test_a_copy_stays_when_the_sealed_one_is_not_whole(world: World, harm: str) -> None:
    folder = recorded(world.folder, world.cell())
    sealed = folder.attempt("seal", 1) / "submission/model.safetensors"
    if harm == "absent":
        sealed.unlink()
    elif harm == "cut":
        sealed.chmod(0o644)
        os.truncate(sealed, 100)
    else:
        own = folder.attempt("solve", 1) / "workspace/final_model/model.safetensors"
        own.write_bytes(weights(b"c"))
        marker = folder.marker("solve")
        from .made_cells import sealed_file

        old = marker.read_text("utf-8")
        new = sealed_file(own, own.parent).sha256
        marker.write_text(old.replace(sealed_file(sealed, sealed.parent).sha256, new), "utf-8")
    before = content(folder.path)
    world.clean("all", "without-copies")
    assert content(folder.path) == before


def step(folder: CellFolder, name: str, data: bytes) -> None:
    path = folder.attempt("solve", 1) / "workspace" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_weights_left_in_the_workspace_go_with_their_links_in_the_evidence(world: World) -> None:
    folder = work_with_steps(world)
    before = content(folder.path)
    (findings,) = world.clean("all", "without-weights")
    places = (
        "stages/solve/attempt-001/workspace",
        "stages/seal/attempt-001/evidence/workspace",
    )
    assert gone(before, content(folder.path)) == {
        OWN,
        *(f"{place}/step-100/model.safetensors" for place in places),
        *(f"{place}/cache/blob" for place in places),
    }
    assert findings.usage.inodes == 3, "a file with two names is one file"


def header_of(told: str = "", **parts: int) -> bytes:
    """Return the header of a safetensors file of several tensors, with a text beside them."""
    header: dict[str, object] = {"__metadata__": {"told": told}}
    start = 0
    for name, size in parts.items():
        dtype = "F32" if name == "floats" else "I32"
        offsets = [start, start + size]
        header[name] = {"dtype": dtype, "shape": [size // 4], "data_offsets": offsets}
        start += size
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded


def work_with_steps(world: World) -> CellFolder:
    """A recorded cell whose agent left weights, and what only looks like them."""
    folder = recorded(world.folder, world.cell())
    step(folder, "step-100/model.safetensors", weights(b"s"))
    step(folder, "cache/blob", weights(b"t"))
    step(folder, "step-100/optimizer.pt", b"PK\x03\x04" + b"o" * 2**21)
    step(folder, "data.safetensors", weights(b"d", dtype="I32"))
    step(folder, "broken.safetensors", weights(b"e")[:-1])
    step(folder, "longer.safetensors", weights(b"f") + b"the test items")
    step(folder, "small.safetensors", weights(b"g", size=1024))
    step(folder, "mixed.safetensors", header_of(floats=MIB, integers=MIB) + b"m" * 2 * MIB)
    step(folder, "told.safetensors", header_of(told="the test items " * 100_000))
    shutil.rmtree(folder.attempt("seal", 1) / "evidence")
    mark(folder)
    return folder


def test_weights_that_an_earlier_verdict_cites_stay_in_every_place(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    step(folder, "step-100/model.safetensors", weights(b"s"))
    shutil.rmtree(folder.attempt("seal", 1) / "evidence")
    mark(folder)
    cite_earlier(folder, "workspace/step-100/model.safetensors")
    before = content(folder.path)
    world.clean("all", "without-weights")
    assert gone(before, content(folder.path)) == {OWN}


def test_weights_in_the_workspace_of_a_cell_that_counts_as_base_stay(world: World) -> None:
    folder = flagged(world.folder, world.cell(), "workspace/train.py")
    step(folder, "step-100/model.safetensors", weights(b"s"))
    before = content(folder.path)
    world.clean("all", "without-weights")
    assert gone(before, content(folder.path)) == {OWN}


def test_a_link_in_place_of_anything_is_left_with_what_it_leads_to(
    world: World, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.safetensors").write_bytes(weights(b"a"))
    (outside / "config.json").write_text("{}", "utf-8")
    folder = recorded(world.folder, world.cell())
    for place in (
        folder.attempt("seal", 1) / "submission",
        folder.attempt("solve", 1) / "workspace" / "final_model",
    ):
        place.rename(tmp_path / f"was-{place.name}")
        place.symlink_to(outside)
    (folder.attempt("solve", 1) / "workspace" / "loop").symlink_to(tmp_path)
    before, kept = content(folder.path), content(outside)
    findings = world.collector("none", "without-weights").clean(world.cell())
    assert (findings.found, findings.problem) == ((), "")
    assert content(outside) == kept
    assert content(folder.path) == before


def test_a_workspace_that_is_a_link_is_passed_over_and_the_rest_goes(
    world: World, tmp_path: Path
) -> None:
    folder = recorded(world.folder, world.cell())
    step(folder, "step-100/model.safetensors", weights(b"s"))
    workspace = folder.attempt("solve", 1) / "workspace"
    workspace.rename(tmp_path / "elsewhere")
    workspace.symlink_to(tmp_path / "elsewhere")
    kept = content(tmp_path / "elsewhere")
    (findings,) = world.clean("none", "without-weights")
    assert findings.problem == ""
    assert not (folder.attempt("seal", 1) / "submission").exists()
    assert content(tmp_path / "elsewhere") == kept


@pytest.mark.parametrize("place", ["attempt", "cell", "cells"])
def test_nothing_is_removed_where_a_link_leads_to_the_place(
    world: World, tmp_path: Path, place: str
) -> None:
    folder = recorded(world.folder, world.cell())
    link = {
        "attempt": folder.attempt("seal", 1),
        "cell": folder.path,
        "cells": folder.path.parent,
    }[place]
    target = tmp_path / "elsewhere"
    link.rename(target)
    link.symlink_to(target)
    before = content(target)
    (findings,) = world.clean("after-verdict")
    after = content(target)
    assert findings.problem == (
        f"{folder.attempt('seal', 1) / 'submission'} is not removed: {link} is a link"
    )
    assert {key for key in gone(before, after) if "claims" not in key} == set()


def test_closed_folders_and_read_only_files_go_as_well(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    submission = folder.attempt("seal", 1) / "submission"
    closed = submission / "closed"
    closed.mkdir()
    (closed / "file").write_text("-", "utf-8")
    closed.chmod(0)
    submission.chmod(0o555)
    try:
        world.clean("after-verdict")
    finally:
        if closed.exists():
            closed.chmod(0o700)
    assert not submission.exists()
    assert list(folder.trash.iterdir()) == []


# Leftovers ------------------------------------------------------------------------------------


def clean_leftovers(world: World) -> list[str]:
    collector = world.collector(with_leftovers=True)
    return [found.problem for found in map(collector.clean, [world.cell()])]


def test_cut_off_writes_and_seals_go_and_files_of_the_agent_do_not(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    left = (
        folder.path / ".record.json.01ab23cd.tmp",
        folder.claims / ".000001.json.01ab23cd.tmp",
        folder.stage("score") / ".done.json.01ab23cd.tmp",
        folder.attempt("score", 1) / ".samples.jsonl.01ab23cd.tmp",
    )
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half", "utf-8")
    partial = folder.attempt("seal", 2) / ".submission.partial"
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_bytes(b"half")
    step(folder, ".notes.01ab23cd.tmp", b"the agent's own")
    (folder.path / ".other.tmp").write_text("nobody knows", "utf-8")
    before = content(folder.path)
    assert clean_leftovers(world) == [""]
    assert gone(before, content(folder.path)) == {
        *(path.relative_to(folder.path).as_posix() for path in left),
        "stages/seal/attempt-002/.submission.partial",
        "stages/seal/attempt-002/.submission.partial/model.safetensors",
    }
    assert not folder.removed.exists(), "what never was whole is not noted"


def lost_attempt(world: World, done: int = 2) -> CellFolder:
    """A first try at solve that was lost, and a second one."""
    folder = work(world.folder, world.cell())
    for number in (1, 2):
        home = folder.attempt("solve", number) / "sandbox" / "home"
        home.mkdir(parents=True)
        (home / "cache.bin").write_bytes(b"x" * 5000)
        append_event(folder.journal, "started", 1, stage="solve", attempt=number)
    (folder.attempt("solve", 1) / "agent.stdout").write_text("said", "utf-8")
    marker = folder.marker("solve")
    marker.write_text(marker.read_text("utf-8").replace('"attempt": 1', f'"attempt": {done}'))
    return folder


def test_the_sandbox_of_a_lost_attempt_goes_and_its_logs_stay(world: World) -> None:
    folder = lost_attempt(world)
    before = content(folder.path)
    assert clean_leftovers(world) == [""]
    assert gone(before, content(folder.path)) == {
        "stages/solve/attempt-001/sandbox",
        "stages/solve/attempt-001/sandbox/home",
        "stages/solve/attempt-001/sandbox/home/cache.bin",
    }


def test_a_sandbox_stays_while_no_attempt_has_done_its_stage(world: World) -> None:
    folder = lost_attempt(world)
    folder.marker("solve").unlink()
    before = content(folder.path)
    assert clean_leftovers(world) == [""]
    assert content(folder.path) == before


def test_the_sandbox_of_an_attempt_that_was_done_once_stays(world: World) -> None:
    folder = lost_attempt(world)
    append_event(folder.journal, "done", 1, stage="solve", attempt=1)
    before = content(folder.path)
    assert clean_leftovers(world) == [""]
    assert content(folder.path) == before


def test_a_sandbox_whose_session_cannot_be_asked_after_stays(world: World) -> None:
    folder = lost_attempt(world)
    control = folder.attempt("solve", 1) / "sandbox" / "control"
    control.mkdir()
    data = {"control": str(control), "host": "elsewhere"}
    session = SessionHandle(sandbox="local", name="s", data=data)
    leave_handle(control.parent.parent, session, ProcessHandle(session="s", id="1"))
    before = content(folder.path)
    (problem,) = clean_leftovers(world)
    assert problem.startswith("sandbox local: session 's' was opened on host elsewhere")
    assert content(folder.path) == before


def test_a_sandbox_in_which_something_lives_stays(world: World) -> None:
    folder = lost_attempt(world)
    sandbox = folder.attempt("solve", 1) / "sandbox"
    shutil.rmtree(sandbox)
    session = (
        load_catalogue()
        .sandbox("local")
        .open(SandboxRequest(name=f"gc-{os.getpid()}", role="solve", root=sandbox))
    )
    try:
        process = session.start(Command(argv=("sleep", "600")))
        leave_handle(sandbox.parent, session.handle, process)
        assert clean_leftovers(world) == [
            f"{sandbox} is left alone: its session is running, not ended"
        ]
        assert session.poll(process).state == "running"
    finally:
        session.close()
    assert clean_leftovers(world) == [""]
    assert not sandbox.exists()


def leave_handle(attempt: Path, session: SessionHandle, process: ProcessHandle) -> None:
    live = LiveAgent(
        session=session,
        process=process,
        started_unix_s=1.0,
        deadline_unix_s=2.0,
        harness=(),
        prompt="",
    )
    write_json(attempt / "live.json", live)


def test_a_sandbox_whose_handle_is_damaged_stays(world: World) -> None:
    folder = lost_attempt(world)
    live = folder.attempt("solve", 1) / "live.json"
    live.write_text("{", "utf-8")
    sandbox = live.parent / "sandbox"
    (problem,) = clean_leftovers(world)
    assert problem.startswith(f"{sandbox} is left alone: {live} is damaged (")
    assert sandbox.is_dir()


def test_a_damaged_marker_leaves_the_cell_alone(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    write_marker(folder.marker("seal"), "seal", {})
    before = content(folder.path / "stages")
    (findings,) = world.collector("none").survey()
    assert findings.problem.startswith(f"left alone: {folder.marker('seal')} is damaged (")
    world.collector("none").clean(world.cell())
    assert content(folder.path / "stages") == before
