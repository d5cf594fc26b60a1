"""``ptb gc`` as a user meets it: shown first, removed with --yes, exact words."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from ptb_core.claims import take_claim
from ptb_core.cli.main import main
from ptb_core.retention.notes import removals
from ptb_core.retention.usage import freed
from ptb_core.sizes import in_words

from .conftest import World
from .made_cells import content, flagged, recorded


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_it_shows_what_it_would_remove_and_removes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = recorded(world.folder, world.cell(1))
    bad = flagged(world.folder, world.cell(2), "workspace/train.py")
    own = "stages/solve/attempt-001/workspace/final_model/model.safetensors"
    sealed, copy = freed([clean.attempt("seal", 1) / "submission", clean.path / own])
    (other,) = freed([bad.path / own])
    before = content(world.folder.path)
    assert main(["gc", str(world.folder.path), "--policy", "after-verdict"]) == 0
    both = in_words(sealed.bytes + copy.bytes)
    total = in_words(sealed.bytes + copy.bytes + other.bytes)
    inodes = sealed.inodes + copy.inodes + other.inodes
    assert capsys.readouterr().out.splitlines() == [
        f"{world.folder.path}: checkpoints after-verdict, workspaces without-copies",
        f"  {world.cell(1).id}: frees {both}",
        f"    checkpoint {in_words(sealed.bytes):>9}  stages/seal/attempt-001/submission: it "
        "counts with its own score",
        f"    checkpoint {in_words(copy.bytes):>9}  {own}: it counts with its own score",
        f"  {world.cell(2).id}: frees {in_words(other.bytes)}; its checkpoint stays: it counts as "
        "base, this is the evidence: flagged: other-base-model",
        f"    copy       {in_words(other.bytes):>9}  {own}: the sealed checkpoint holds it",
        "1 cell can then be neither rejudged nor reevaluated, only scored again",
        f"would free {total} and {inodes} inodes; nothing is removed yet: `--yes` removes it",
    ]
    assert content(world.folder.path) == before


def test_with_yes_it_removes_and_says_how_much(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded(world.folder, world.cell())
    room = [folder.attempt("solve", 1) / "workspace/final_model/model.safetensors"]
    (usage,) = freed(room)
    assert main(["gc", str(world.folder.path), "--yes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"would free {in_words(usage.bytes)} and 1 inodes",
        f"freed {in_words(usage.bytes)} and 1 inodes",
    ]
    assert not room[0].exists()
    assert main(["gc", str(world.folder.path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing to remove"


def test_a_terminal_is_asked_and_yes_is_needed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded(world.folder, world.cell())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(text: str, default: str) -> str:
        asked.append(text)
        return "y" if len(asked) == 1 else "yes"

    monkeypatch.setattr("click.prompt", answer)
    assert main(["gc", str(world.folder.path)]) == 0
    assert removals(folder) == ()
    assert main(["gc", str(world.folder.path)]) == 0
    assert asked == ["type yes to remove it"] * 2
    assert len(removals(folder)) == 1


def test_the_rule_in_force_is_used_unless_another_is_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.folder.retention.write_text('{"checkpoints": "none", "workspaces": "whole"}', "utf-8")
    recorded(world.folder, world.cell())
    main(["gc", str(world.folder.path)])
    assert ": checkpoints none, workspaces whole" in capsys.readouterr().out
    main(["gc", str(world.folder.path), "--policy", "all"])
    assert ": checkpoints all, workspaces whole" in capsys.readouterr().out
    main(["gc", str(world.folder.path), "--workspaces", "without-weights"])
    assert ": checkpoints none, workspaces without-weights" in capsys.readouterr().out


def test_a_damaged_rule_removes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.folder.retention.write_text('{"checkpoints": "al', "utf-8")
    assert main(["gc", str(world.folder.path), "--yes"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"ptb: {world.folder.retention} is damaged (")
    assert error.endswith(
        "), so nothing is removed; delete it and run `ptb run` on the run folder again\n"
    )


def test_a_folder_that_is_no_run_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"ptb: {tmp_path} is no run folder: it has no run.json; `ptb run --plan PLAN` makes one\n"
    )


def test_a_busy_cell_is_left_alone_and_said_to_be(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded(world.folder, world.cell())
    held = take_claim(folder.claims)
    assert held is not None
    assert main(["gc", str(world.folder.path), "--yes", "--policy", "none"]) == 0
    assert f"  {world.cell().id}: left alone: it is being worked on" in capsys.readouterr().out
    assert removals(folder) == ()
    held.release()


def test_what_cannot_be_removed_is_said_and_the_exit_status_is_1(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded(world.folder, world.cell())
    attempt = folder.attempt("seal", 1)
    attempt.rename(tmp_path / "moved")
    attempt.symlink_to(tmp_path / "moved")
    with pytest.raises(SystemExit) as ended:
        main(["gc", str(world.folder.path), "--yes", "--policy", "none"])
    assert ended.value.code == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == [
        f"{world.cell().id}: {attempt / 'submission'} is not removed: {attempt} is a link",
        "freed 0.0 MiB and 0 inodes",
    ]


def test_json_tells_machines_the_same(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recorded(world.folder, world.cell())
    main(["gc", str(world.folder.path), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["removed"] is False
    assert removals(folder) == ()
    main(["gc", str(world.folder.path), "--json", "--yes"])
    done = json.loads(capsys.readouterr().out)
    assert done["removed"] is True
    assert done["freed_bytes"] == shown["freed_bytes"] > 0
    (cell,) = done["runs"][0]["cells"]
    (item,) = cell["items"]
    assert (cell["cell"], item["what"], item["inodes"]) == (world.cell().id, "copy", 1)


def links(world: World, folder: Path, name: str) -> Path:
    evidence = folder / f"ptb-evidence-{name}"
    evidence.mkdir()
    cell = world.folder.cell(world.cell().id)
    (evidence / "workspace").symlink_to(cell.path / "stages")
    return evidence


def test_links_of_a_dead_judge_go_and_nothing_like_them(
    world: World, own_temporary_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(world.folder, world.cell())
    dead = links(world, own_temporary_folder, "dead")
    foreign = own_temporary_folder / "ptb-evidence-foreign"
    foreign.mkdir()
    (foreign / "workspace").symlink_to("/elsewhere/cells/x")
    empty = own_temporary_folder / "ptb-evidence-empty"
    empty.mkdir()
    mixed = links(world, own_temporary_folder, "mixed")
    (mixed / "file").write_text("-", "utf-8")
    sly = own_temporary_folder / "ptb-evidence-sly"
    sly.mkdir()
    (sly / "workspace").symlink_to(world.folder.path / "cells" / ".." / ".." / "x")
    assert main(["gc", str(world.folder.path), "--yes"]) == 0
    assert f"  {dead}: links into this run that a dead supervisor left" in capsys.readouterr().out
    assert sorted(own_temporary_folder.iterdir()) == [empty, foreign, mixed, sly]
    assert world.folder.cell(world.cell().id).stage("seal").is_dir()


def test_links_of_a_living_judge_stay(world: World, own_temporary_folder: Path) -> None:
    folder = recorded(world.folder, world.cell())
    held = take_claim(folder.claims)
    assert held is not None
    live = links(world, own_temporary_folder, "live")
    assert main(["gc", str(world.folder.path), "--yes"]) == 0
    assert (live / "workspace").is_symlink()
    held.release()
