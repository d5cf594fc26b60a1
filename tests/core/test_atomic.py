"""Files are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptb_core.atomic import create_exclusive, sweep, write_bytes, write_json


def test_a_failed_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "record.json"
    write_json(target, {"a": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b'{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_only_the_first_creator_wins(tmp_path: Path) -> None:
    assert create_exclusive(tmp_path / "claim", b"first")
    assert not create_exclusive(tmp_path / "claim", b"second")
    assert (tmp_path / "claim").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["claim"]


def test_a_creator_whose_temporary_file_the_winner_swept_away_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def swept_before(source: Path, target: Path) -> None:
        monkeypatch.setattr("os.link", link)
        assert create_exclusive(tmp_path / "claim", b"winner")
        sweep(tmp_path)
        link(source, target)

    monkeypatch.setattr("os.link", swept_before)
    assert not create_exclusive(tmp_path / "claim", b"loser")
    assert (tmp_path / "claim").read_bytes() == b"winner"
    assert [p.name for p in tmp_path.iterdir()] == ["claim"]


def test_a_file_that_cannot_be_created_is_an_error_and_no_lost_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(source: Path, _target: Path) -> None:
        source.unlink()
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("os.link", gone)
    with pytest.raises(FileNotFoundError):
        create_exclusive(tmp_path / "claim", b"x")


def test_a_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (".claim.0a1b2c3d.tmp", "done.json", ".hidden", "notes.tmp", ".link.tmp"):
        (tmp_path / name).write_text("", "utf-8")
    (tmp_path / ".link.tmp").unlink()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".deeper.tmp").write_text("", "utf-8")
    (tmp_path / ".link.tmp").symlink_to(tmp_path / "kept")
    (tmp_path / ".submission.partial").mkdir()
    (tmp_path / ".submission.partial" / "model.safetensors").write_text("", "utf-8")
    sweep(tmp_path)
    sweep(tmp_path / "absent")
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    assert left == [".hidden", "done.json", "kept", "kept/.deeper.tmp", "notes.tmp"]
