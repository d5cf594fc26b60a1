"""Ways in which a file of a run folder can be damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def zeros(path: Path) -> None:
    """What a power cut leaves on some file systems: the right length, no content."""
    path.write_bytes(b"\0" * path.stat().st_size)


def another_type(path: Path) -> None:
    path.write_bytes(b"[1, 2, 3]\n")


def wrong_shape(path: Path) -> None:
    path.write_bytes(b'{"schema_version": 1, "what": "something else"}\n')


def newer(path: Path) -> None:
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "schema_version": 99}), "utf-8")


def no_utf8(path: Path) -> None:
    content = path.read_bytes()
    at = re.search(rb'": ?"', content)
    assert at is not None
    path.write_bytes(content[: at.end()] + b"\xff\xfe" + content[at.end() :])


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


def link_to_itself(path: Path) -> None:
    """Stands for a file that cannot be opened; root may read whatever its mode says."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        empty,
        half,
        zeros,
        another_type,
        wrong_shape,
        newer,
        no_utf8,
        deep,
        folder,
        link_to_itself,
    )
}


def mend(path: Path, content: bytes | None = None) -> None:
    """Remove a damaged file, or put its content back."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    if content is not None:
        path.write_bytes(content)
