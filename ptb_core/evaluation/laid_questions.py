"""What each sample asks, as a file for a workspace that must hold no answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ptb_core.errors import UsageError
from ptb_core.evaluation.exchange import (
    ChatRequest,
    CompletionRequest,
    DataDir,
    LogLikelihoodRequest,
    Request,
)
from ptb_core.evaluation.questions import SampleRequests
from ptb_core.evaluation.samples import samples_of
from ptb_core.interfaces import Task
from ptb_core.specs import RequestKind


class LaidRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request; exactly one of the three is there."""

    chat: ChatRequest | None = None
    completion: CompletionRequest | None = None
    likelihood: LogLikelihoodRequest | None = None

    @property
    def request(self) -> Request:
        """The request.

        Raises:
            ValueError: If there is none.
        """
        found = self.chat or self.completion or self.likelihood
        if found is None:
            raise ValueError("a request of no known kind")
        return found


class LaidSample(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a sample's id and what it asks, and nothing else of it."""

    id: str
    requests: tuple[LaidRequest, ...]


def lines_of(task: Task, data: DataDir, requests: RequestKind) -> str:
    """Return the file's text: one line per sample, all of them.

    Raises:
        DataError: If the data lack what the task needs.
    """
    lines = [
        LaidSample(id=sample.id, requests=tuple(map(_laid, task.requests(sample, requests))))
        for sample in samples_of(task, data)
    ]
    return "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)


def read_questions(path: Path) -> Mapping[str, SampleRequests]:
    """Return what each sample asks, by its id.

    Raises:
        UsageError: If the file is missing or damaged.
    """
    try:
        with path.open("rb") as stream:
            lines = [msgspec.json.decode(line, type=LaidSample) for line in stream]
        return {
            line.id: SampleRequests(id=line.id, requests=tuple(r.request for r in line.requests))
            for line in lines
        }
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); it was laid here and must stay as it was"
        ) from error


def _laid(request: Request) -> LaidRequest:
    if isinstance(request, ChatRequest):
        return LaidRequest(chat=request)
    if isinstance(request, CompletionRequest):
        return LaidRequest(completion=request)
    return LaidRequest(likelihood=request)
