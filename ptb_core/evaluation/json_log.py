"""Logs of JSON lines to which results are appended as they arrive, so that nothing is done twice.

A last line that is torn (crash or full disk while writing) is cut off, and nothing is ever written
behind it; a damaged line before it is an error.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, TypeVar

import msgspec

from ptb_core.atomic import write_all
from ptb_core.disk.faults import naming_file
from ptb_core.errors import RecordError

SYNC_S = 2.0
"""Longest time for which written lines may stay in the operating system's memory only."""

EntryT = TypeVar("EntryT")


class JsonLog(Generic[EntryT]):
    """An open log; use as a context manager.

    Attributes:
        entries: What it held when it was opened.

    Raises:
        RecordError: If a line other than a torn last one is damaged.
    """

    def __init__(self, path: Path, entry_type: type[EntryT], what: str) -> None:
        self._path = path
        self.entries, whole_bytes = read_log(path, entry_type, what)
        self._stream: BinaryIO = path.open("ab", buffering=0)
        self._stream.truncate(whole_bytes)
        self._whole_bytes = whole_bytes
        self._failure: OSError | None = None
        self._synced = time.monotonic()

    def __enter__(self) -> JsonLog[EntryT]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._sync()
        finally:
            self._stream.close()

    def append(self, entry: EntryT) -> None:
        """Keep an entry.

        Raises:
            OSError: If it cannot be written. A part of its line that was written is cut off; where
                that fails too, the next opening does it, and until then every entry is refused
                with the same error.
        """
        if self._failure is not None:
            raise self._failure
        line = msgspec.json.encode(entry) + b"\n"
        try:
            with naming_file(self._path):
                write_all(self._stream.fileno(), line)
        except BaseException as error:
            self._cut_off_part(error)
            raise
        self._whole_bytes += len(line)
        if time.monotonic() - self._synced > SYNC_S:
            self._sync()

    def _cut_off_part(self, error: BaseException) -> None:
        try:
            self._stream.truncate(self._whole_bytes)
        except OSError as obstacle:
            self._failure = error if isinstance(error, OSError) else obstacle

    def _sync(self) -> None:
        with naming_file(self._path):
            os.fsync(self._stream.fileno())
        self._synced = time.monotonic()


def read_log(path: Path, entry_type: type[EntryT], what: str) -> tuple[list[EntryT], int]:
    """Return all whole lines, and the number of bytes they take; an absent log is empty.

    Args:
        path: The log.
        entry_type: What a line holds.
        what: What a line holds, in words, such as ``completion``.

    Raises:
        RecordError: If the log cannot be read, or a line other than a torn last one is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RecordError(
            f"{path}: the log of {what}s cannot be read ({error.strerror}); mend that, or move "
            "it away to generate anew"
        ) from error
    *lines, torn = content.split(b"\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(msgspec.json.decode(line, type=entry_type))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError(
                f"{path}, line {number}: found damaged JSON ({error}), expected one {what}; "
                "move the log away to generate anew"
            ) from error
    return entries, len(content) - len(torn)
