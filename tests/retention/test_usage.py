"""What a removal frees: blocks, not sizes; each inode once, and only when its last name goes."""

from __future__ import annotations

import os
from pathlib import Path

from ptb_core.retention.usage import Usage, freed

BLOCK = 4096


def a_file(path: Path, size: int = 64 * 1024) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def blocks(path: Path) -> int:
    return path.lstat().st_blocks * 512


def test_a_file_counts_with_its_blocks(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a")
    assert freed([path]) == [Usage(bytes=blocks(path), inodes=1)]


def test_holes_take_no_room(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(2**30)
    (usage,) = freed([path])
    assert usage.bytes < 2**20


def test_a_file_that_keeps_a_name_frees_nothing(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a")
    os.link(path, tmp_path / "kept")
    assert freed([path]) == [Usage()]


def test_a_file_all_of_whose_names_go_counts_once(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a")
    os.link(path, tmp_path / "b")
    assert freed([path, tmp_path / "b"]) == [Usage(bytes=blocks(path), inodes=1), Usage()]


def test_a_folder_counts_with_all_below_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = a_file(folder / "a")
    assert freed([folder]) == [Usage(bytes=blocks(folder) + blocks(path), inodes=2)]


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = a_file(tmp_path / "big", 2**20)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(target)
    (usage,) = freed([folder])
    assert usage.bytes <= 2 * BLOCK
    assert usage.inodes == 2


def test_what_is_gone_counts_nothing(tmp_path: Path) -> None:
    assert freed([tmp_path / "gone"]) == [Usage()]
