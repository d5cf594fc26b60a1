"""The log of completions: JSON lines, appended as answers arrive, so that nothing is asked twice.

A last line that is torn (crash while writing) is cut off; a damaged line before it is an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from ptb_core.atomic import write_all
from ptb_core.disk.faults import naming_file
from ptb_core.errors import RecordError
from ptb_core.evaluation.exchange import Completion
from ptb_core.evaluation.questions import Question

SYNC_S = 2.0
"""Longest time for which written lines may stay in the operating system's memory only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line.

    Attributes:
        id: The sample's id.
        epoch: Counts from 1.
        call: Place among the sample's requests, from 0.
        calls: Number of the sample's requests.
        request: Digest of what was asked (:class:`~ptb_core.evaluation.questions.Question`).
        completion: The answer.
    """

    id: str
    epoch: int
    call: int
    calls: int
    request: str
    completion: Completion


class CompletionLog:
    """An open log; use as a context manager.

    Raises:
        RecordError: If a line other than a torn last one is damaged.
    """

    def __init__(self, path: Path, epoch: int) -> None:
        self._path = path
        self._epoch = epoch
        entries, whole_bytes = _read(path)
        self._entries = {(e.id, e.call): e for e in entries if e.epoch == epoch}
        self._stream: BinaryIO = path.open("ab", buffering=0)
        self._stream.truncate(whole_bytes)
        self._synced = time.monotonic()

    def __enter__(self) -> CompletionLog:
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

    def find(self, question: Question) -> Completion | None:
        """Return the logged answer, or None when there is none yet.

        Raises:
            RecordError: If the log's answer is to another question.
        """
        entry = self._entries.get((question.sample, question.call))
        if entry is None:
            return None
        if entry.request != question.digest:
            raise RecordError(
                f"{self._path}: the answer of sample {question.sample!r}, call {question.call} "
                f"belongs to request {entry.request}, expected {question.digest}: the log was "
                "made with other prompts or sampling; move it away to generate anew"
            )
        return entry.completion

    def append(self, question: Question, completion: Completion) -> None:
        """Keep an answer.

        Raises:
            OSError: If it cannot be written; a part of its line is cut off on the next opening.
        """
        entry = LogEntry(
            id=question.sample,
            epoch=self._epoch,
            call=question.call,
            calls=question.calls,
            request=question.digest,
            completion=completion,
        )
        with naming_file(self._path):
            write_all(self._stream.fileno(), msgspec.json.encode(entry) + b"\n")
        self._entries[question.sample, question.call] = entry
        if time.monotonic() - self._synced > SYNC_S:
            self._sync()

    def _sync(self) -> None:
        with naming_file(self._path):
            os.fsync(self._stream.fileno())
        self._synced = time.monotonic()


def read_completions(path: Path, epoch: int = 1) -> Mapping[str, tuple[Completion, ...]]:
    """Return the completions of each sample whose requests are all answered, in request order.

    Raises:
        RecordError: If a line other than a torn last one is damaged.
    """
    calls: dict[str, dict[int, LogEntry]] = {}
    for entry in _read(path)[0]:
        if entry.epoch == epoch:
            calls.setdefault(entry.id, {})[entry.call] = entry
    return {
        sample: tuple(entries[call].completion for call in sorted(entries))
        for sample, entries in calls.items()
        if len(entries) == next(iter(entries.values())).calls
    }


def _read(path: Path) -> tuple[list[LogEntry], int]:
    """Return all whole lines, and the number of bytes they take."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RecordError(
            f"{path}: the log of completions cannot be read ({error.strerror}); mend that, or move "
            "it away to generate anew"
        ) from error
    *lines, torn = content.split(b"\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(msgspec.json.decode(line, type=LogEntry))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError(
                f"{path}, line {number}: found damaged JSON ({error}), expected one completion; "
                "move the log away to generate anew"
            ) from error
    return entries, len(content) - len(torn)
