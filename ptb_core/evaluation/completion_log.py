"""The log of completions: what was answered, so that nothing is asked twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ptb_core.canonical import file_sha256
from ptb_core.damage import unreadable
from ptb_core.errors import RecordError
from ptb_core.evaluation.exchange import Completion
from ptb_core.evaluation.json_log import JsonLog, read_log
from ptb_core.evaluation.questions import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line.

    Attributes:
        id: The sample's id.
        epoch: Round of the evaluation, from 1.
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

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._epoch = number
        self._log = JsonLog(path, LogEntry, "completion")
        self._entries = {(e.id, e.call): e for e in self._log.entries if e.epoch == number}

    def __enter__(self) -> CompletionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._log.__exit__(kind, error, trace)

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
        self._log.append(entry)
        self._entries[question.sample, question.call] = entry


def read_completions(path: Path, epoch: int = 1) -> Mapping[str, tuple[Completion, ...]]:
    """Return the completions of each sample whose requests are all answered, in request order.

    Raises:
        RecordError: If a line other than a torn last one is damaged.
    """
    calls: dict[str, dict[int, LogEntry]] = {}
    for entry in read_log(path, LogEntry, "completion")[0]:
        if entry.epoch == epoch:
            calls.setdefault(entry.id, {})[entry.call] = entry
    return {
        sample: tuple(entries[call].completion for call in sorted(entries))
        for sample, entries in calls.items()
        if len(entries) == next(iter(entries.values())).calls
    }


def require_unchanged(completions: Path, sha256: str, remedy: str) -> None:
    """Make sure that what is scored is what the checkpoint has answered.

    Args:
        completions: The log of completions.
        sha256: Its digest when it was complete.
        remedy: What to do when it is not, such as ``restore it from a copy``.

    Raises:
        RecordError: If it has changed since, or cannot be read.
    """
    try:
        found = file_sha256(completions)
    except OSError as error:
        raise unreadable(completions, error, remedy) from error
    if found != sha256:
        raise RecordError(
            f"{completions} has changed since the checkpoint answered: sha256 {sha256[:12]} then, "
            f"{found[:12]} now; {remedy}"
        )
