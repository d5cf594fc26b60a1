"""A removal is noted, done in one step, and can be killed at any moment."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from ptb_core.errors import PtbError
from ptb_core.json_codec import to_builtins
from ptb_core.retention import removal
from ptb_core.retention.notes import (
    RemovedError,
    omissions,
    refuse_removed_checkpoint,
    removals,
)
from ptb_core.retention.places import Item
from ptb_core.retention.removal import delete, empty_trash, refuse_outside, remove
from ptb_core.run_folder import CellFolder
from ptb_core.stages.context import Sealed

from ..core.small_run import write_marker
from .conftest import World
from .made_cells import MIB, content, recorded, sealed_file, weights
from .test_places import work_with_steps


@pytest.fixture
def folder(world: World) -> CellFolder:
    return recorded(world.folder, world.cell())


def submission(folder: CellFolder) -> Path:
    return folder.attempt("seal", 1) / "submission"


def test_a_note_says_what_when_why_by_whom_and_with_which_digests(
    world: World, folder: CellFolder
) -> None:
    files = tuple(
        sealed_file(path, submission(folder)) for path in sorted(submission(folder).iterdir())
    )
    before = time.time()
    world.clean("after-verdict")
    sealed, own = removals(folder)
    assert (sealed.what, sealed.path) == ("checkpoint", "stages/seal/attempt-001/submission")
    assert sealed.why == "it counts with its own score"
    assert sealed.by == "ptb gc (checkpoints after-verdict, workspaces whole)"
    assert before <= sealed.removed_unix_s <= time.time()
    assert sealed.freed_bytes >= 2 * MIB
    assert sealed.files == files
    assert own.path.endswith("workspace/final_model/model.safetensors")
    assert [(file.path, file.sha256) for file in own.files] == [
        ("model.safetensors", files[1].sha256)
    ]


def test_digests_of_an_earlier_seal_are_its_own_and_not_the_later_ones(
    world: World, folder: CellFolder
) -> None:
    other = folder.attempt("seal", 2) / "submission"
    other.mkdir(parents=True)
    (other / "model.safetensors").write_bytes(weights(b"z"))
    digest = sealed_file(other / "model.safetensors", other).sha256
    world.clean("after-verdict")
    (found,) = [r for r in removals(folder) if r.path == "stages/seal/attempt-002/submission"]
    assert [file.sha256 for file in found.files] == [digest]


def test_digests_of_another_attempts_weights_are_its_own(world: World, folder: CellFolder) -> None:
    """Same name, same size, other bytes: only what was frozen in that attempt is known of it."""
    other = folder.attempt("solve", 2) / "workspace" / "final_model" / "model.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(weights(b"z"))
    digest = sealed_file(other, other.parent).sha256
    world.clean("after-verdict")
    (found,) = [r for r in removals(folder) if "attempt-002" in r.path]
    assert [file.sha256 for file in found.files] == [digest]


def test_nothing_goes_when_the_note_cannot_be_written(
    world: World, folder: CellFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(removal, "note_removal", full)
    before = content(folder.path)
    (findings,) = world.clean("after-verdict")
    assert findings.problem == (
        f"{submission(folder)} could not be removed (No space left on device) and is whole; "
        "run `ptb gc` again"
    )
    assert findings.found == ()
    assert content(folder.path) == before


class KilledError(BaseException):
    """Stands for SIGKILL: nothing after it is done."""


def kill(*_: object, **__: object) -> None:
    raise KilledError


def test_killed_after_the_note_all_is_whole_and_the_note_is_void(
    world: World, folder: CellFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "rename", kill)
    with pytest.raises(KilledError):
        world.clean("after-verdict")
    monkeypatch.undo()
    assert len(removals(folder)) == 1
    assert sorted(p.name for p in submission(folder).iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    refuse_removed_checkpoint(folder)
    world.clean("after-verdict")
    assert not submission(folder).exists()


def test_killed_while_deleting_nothing_is_half_in_its_place_and_the_next_one_finishes(
    world: World, folder: CellFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal.shutil, "rmtree", kill)
    with pytest.raises(KilledError):
        world.clean("after-verdict")
    monkeypatch.undo()
    assert not submission(folder).exists()
    assert any(folder.trash.iterdir())
    (findings,) = world.clean("all")
    assert findings.found == ()
    assert list(folder.trash.iterdir()) == []


def test_deleting_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("-", "utf-8")
    thing = tmp_path / "thing"
    thing.mkdir()
    (thing / "link").symlink_to(target)
    target.chmod(0o500)
    delete(thing)
    assert (target / "file").exists()
    assert target.stat().st_mode & 0o777 == 0o500, "not even its rights are changed"
    (tmp_path / "link").symlink_to(target)
    delete(tmp_path / "link")
    assert (target / "file").exists()


def test_a_trash_that_is_a_link_is_not_emptied(folder: CellFolder, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("-", "utf-8")
    folder.trash.symlink_to(target)
    empty_trash(folder)
    assert (target / "file").exists()


def test_nothing_outside_the_cells_folder_is_removed(folder: CellFolder, tmp_path: Path) -> None:
    inside = folder.path / "stages"
    for path in (tmp_path, folder.path, inside / ".." / ".." / "other", folder.path.parent):
        with pytest.raises(PtbError) as caught:
            refuse_outside(folder, path)
        assert str(caught.value) == (f"{path} is not removed: it does not lie below {folder.path}")
    refuse_outside(folder, inside)


def test_the_removal_itself_refuses_what_lies_outside(folder: CellFolder, tmp_path: Path) -> None:
    with pytest.raises(PtbError, match="does not lie below"):
        remove(folder, Item(what="temporary", path=tmp_path, why="-"), "-", 0)
    assert tmp_path.is_dir()


# What is asked for later ----------------------------------------------------------------------


def test_whoever_needs_a_removed_checkpoint_reads_when_and_why_it_went(
    world: World, folder: CellFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sealed_file(submission(folder) / "model.safetensors", submission(folder)).sha256
    monkeypatch.setattr(removal.time, "time", lambda: 1_800_000_000.0)
    world.clean("after-verdict")
    with pytest.raises(RemovedError) as caught:
        refuse_removed_checkpoint(folder)
    assert str(caught.value) == (
        "its checkpoint was removed on 2027-01-15 08:00 UTC by ptb gc "
        "(checkpoints after-verdict, workspaces whole), because it counts with its own score; it "
        "can neither answer nor be judged by its weights again. It was: model.safetensors with "
        f"sha256 {digest}, 1 further file"
    )


def test_a_checkpoint_that_never_was_is_not_said_to_be_removed(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    world.clean("after-verdict")
    absent = Sealed(
        state="absent",
        reason="-",
        path=None,
        files=(),
        notes=(),
        evidence=folder.path,
        omitted={},
    )
    head = {"stage": "seal", "attempt": 2, "fence": 1, "finished_unix_s": 1.0}
    write_marker(folder.marker("seal"), "seal", to_builtins(absent))
    marker = folder.marker("seal")
    marker.write_text(marker.read_text("utf-8").replace('"attempt": 1', '"attempt": 2'), "utf-8")
    assert head["attempt"] == 2
    refuse_removed_checkpoint(folder)


def test_judges_are_told_which_weights_are_no_longer_in_the_evidence(world: World) -> None:
    folder = work_with_steps(world)
    world.clean("all", "without-weights")
    found = omissions(folder)
    assert set(found) == {"step-100/model.safetensors", "cache/blob"}
    assert found["cache/blob"].startswith("weights: removed on ")
    assert found["cache/blob"].endswith(" by ptb gc (checkpoints all, workspaces without-weights)")


def test_a_torn_or_damaged_note_costs_itself_only(world: World, folder: CellFolder) -> None:
    world.clean("after-verdict")
    lines = folder.removed.read_bytes()
    folder.removed.write_bytes(b'{"what":"chec\n\xff\n' + lines + b'{"torn')
    assert len(removals(folder)) == 2
