"""Watching what code does besides returning: programs, connections, writes, processes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ResultT = TypeVar("ResultT")

_PROGRAMS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty",
     "pty.spawn", "socket.connect", "socket.getaddrinfo"}
)  # fmt: skip
_CODE = frozenset({"pickle.find_class"})
_FILES = frozenset(
    {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate",
     "os.chmod", "os.chown", "shutil.rmtree", "shutil.copyfile", "shutil.move"}
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that code did besides returning: Python's audit event and its arguments."""

    event: str
    arguments: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.event} {self.arguments[0]!r:.80}" if self.arguments else self.event


class _Watch:
    """What one call has done so far; Python keeps audit hooks for ever, so there is one hook."""

    def __init__(self) -> None:
        self.is_installed = False
        self.thread: int | None = None
        self.files = False
        self.done: list[Deed] = []

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.thread != threading.get_ident():
            return
        if event in _PROGRAMS or event in _CODE or (self.files and event in _FILES):
            self.done.append(Deed(event, arguments))
        elif self.files and event == "open" and _writes(arguments):
            self.done.append(Deed("open for writing", arguments))


_watch = _Watch()


def watched(
    action: Callable[[], ResultT], *, files: bool = False
) -> tuple[ResultT, tuple[Deed, ...]]:
    """Call something and return what it gave, and what it did besides.

    Args:
        action: What to call; only its own thread is watched.
        files: True also counts writing, making, moving and removing files.
    """
    if not _watch.is_installed:
        sys.addaudithook(_watch.hook)
        _watch.is_installed = True
    _watch.thread, _watch.files, _watch.done = threading.get_ident(), files, []
    try:
        result = action()
    finally:
        _watch.thread = None
    return result, tuple(_watch.done)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    path = str(arguments[0])
    is_cache = path.endswith((".pyc", ".tmp")) or "__pycache__" in path
    return isinstance(flags, int) and bool(flags & _WRITING) and not is_cache


def marked_processes(token: str) -> list[int]:
    """Return the processes of this host whose environment holds ``token``, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
            state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except OSError:  # another user's, or gone
            continue
        if token.encode() in environment and state not in "ZX":
            found.append(int(folder.name))
    return found
