"""A log with many writers on many hosts: each appends to a file of its own, everybody reads all.

No locks, so it works on network file systems, where a reader may see another's lines some seconds
late. A writer that was killed leaves whole lines and at most one torn one, which is not read.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ptb_core.atomic import write_bytes
from ptb_core.evaluation.json_log import JsonLog, read_log

EntryT = TypeVar("EntryT")


class SharedLog(Generic[EntryT]):
    """One writer's view of a shared log.

    Args:
        folder: Where the writers' files lie; made with the first entry.
        entry_type: What a line holds.
        what: What a line holds, in words.
    """

    def __init__(self, folder: Path, entry_type: type[EntryT], what: str) -> None:
        self._folder, self._type, self._what = folder, entry_type, what
        host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:40]
        self._own = folder / f"{host}-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        self._writer: JsonLog[EntryT] | None = None

    def append(self, entry: EntryT) -> None:
        """Keep an entry.

        Raises:
            OSError: If it cannot be written.
        """
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = JsonLog(self._own, self._type, self._what)
        self._writer.append(entry)

    def files(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        """Yield every other writer's file with what changes when it changes."""
        for path in sorted(self._folder.glob("*.jsonl")):
            if path != self._own:
                status = path.stat()
                yield path, (status.st_ino, status.st_size, status.st_mtime_ns)

    def read(self, path: Path) -> list[EntryT]:
        """Return all whole lines of a writer's file.

        Raises:
            RecordError: If the file cannot be read, or a line other than a torn last one is
                damaged.
        """
        return read_log(path, self._type, self._what)[0]

    def close(self, summary: EntryT | None = None) -> None:
        """End writing; a summary takes the place of this writer's lines."""
        if self._writer is None:
            return
        self._writer.__exit__(None, None, None)
        self._writer = None
        if summary is not None:
            write_bytes(self._own, msgspec.json.encode(summary) + b"\n")
