from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from ptb_core.cache import cache_root, locked, new_folder, remembered_sha256
from ptb_core.errors import DataError


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_CACHE", "/a/b")
    assert cache_root() == Path("/a/b")
    monkeypatch.delenv("PTB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/posttrainbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/u")
    assert cache_root() == Path("/home/u/.cache/posttrainbench")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with new_folder(target) as staging:
        (staging / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "c") as staging:
        (staging / "absent" / "file").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_what_a_killed_process_left_half_made_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".b.x1y2").mkdir()
    (tmp_path / ".b.x1y2" / "model.safetensors").write_text("half")
    (tmp_path / ".other.x1y2").mkdir()
    with new_folder(tmp_path / "b") as staging:
        (staging / "file").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.x1y2", "b"]


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path, root = tmp_path / "file", tmp_path / "cache"
    path.write_bytes(b"one")
    first = remembered_sha256(path, root)
    state = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert remembered_sha256(path, root) == first
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert remembered_sha256(path, root) != first


def test_a_cache_that_cannot_be_written_still_gives_digests(tmp_path: Path) -> None:
    path, root = tmp_path / "file", tmp_path / "no-folder"
    path.write_bytes(b"one")
    root.write_text("a file where the cache should be")
    assert len(remembered_sha256(path, root)) == 64


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    root = tmp_path / "no-folder"
    root.write_text("a file where the cache should be")
    with pytest.raises(DataError, match=r"the cache cannot be written: .* set PTB_CACHE"):
        locked(root, "x").__enter__()
    with pytest.raises(DataError, match=r"the cache cannot be written: .* set PTB_CACHE"):
        new_folder(root / "x").__enter__()


def _append(root: Path, log: Path, name: str) -> None:
    with locked(root, "same"):
        with log.open("a") as stream:
            stream.write(f"{name} in\n")
        with log.open("a") as stream:
            stream.write(f"{name} out\n")


def test_two_processes_never_hold_the_same_lock(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    with locked(tmp_path, "same"):
        children = [spawn.Process(target=_append, args=(tmp_path, log, n)) for n in ("a", "b")]
        for child in children:
            child.start()
        assert not log.exists()
    for child in children:
        child.join()
    lines = log.read_text().split("\n")[:4]
    assert [line.split()[0] for line in lines] in (["a", "a", "b", "b"], ["b", "b", "a", "a"])
