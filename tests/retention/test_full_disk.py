"""`ptb gc` where it is needed most: on a disk that is full."""

from __future__ import annotations

from pathlib import Path

from ..core.small_run import small_run
from ..faults.conftest import disk as disk
from ..faults.conftest import fill
from .conftest import World


def full_world(disk: Path, left: Path) -> World:
    """A cell on a full disk, with a write that was cut off and something else."""
    world = World(small_run(disk, agents=[{"name": "null", "scaffold": "null"}], repeats=3))
    folder = world.folder.cell(world.cell().id)
    folder.claims.mkdir(parents=True)
    (folder.path / ".record.json.01ab23cd.tmp").write_bytes(b"half" * 1024)
    place = folder.path / left
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"x" * 64 * 1024)
    fill(disk)
    return world


def test_without_room_for_its_claim_it_removes_nothing_and_says_what_to_do(disk: Path) -> None:
    world = full_world(disk, Path("supervisor.log"))
    folder = world.folder.cell(world.cell().id)
    findings = world.collector(with_leftovers=True).clean(world.cell())
    assert findings.problem == (
        f"left alone: {folder.claims / '000001.json'}: No space left on device; a removal needs a "
        "few KiB for its claim and its note: make room by hand and run `ptb gc` again"
    )
    assert (folder.path / ".record.json.01ab23cd.tmp").exists()


def test_what_lies_in_the_trash_makes_the_room_that_it_needs(disk: Path) -> None:
    world = full_world(disk, Path(".trash/0123456789abcdef"))
    folder = world.folder.cell(world.cell().id)
    findings = world.collector(with_leftovers=True).clean(world.cell())
    assert (findings.problem, [found.item.what for found in findings.found]) == ("", ["temporary"])
    assert not (folder.path / ".record.json.01ab23cd.tmp").exists()
