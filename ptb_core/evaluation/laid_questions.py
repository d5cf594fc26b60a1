"""What each sample asks, as a file for a workspace that must hold no answers.

A sample's id may say too much: gpqamain shows its choices in an order that follows from it, so that
the id alone gives the answer away. Here samples bear the name of their place, and the seeds that
would follow from their ids stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ptb_core.errors import UsageError
from ptb_core.evaluation.exchange import (
    ChatRequest,
    CompletionRequest,
    DataDir,
    LogLikelihoodRequest,
    Request,
    Sample,
)
from ptb_core.evaluation.questions import SampleRequests, sample_seed
from ptb_core.evaluation.rounds import rounds_of
from ptb_core.evaluation.samples import samples_of
from ptb_core.interfaces import Task
from ptb_core.specs import ProtocolSpec


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
    """One line: a sample's name, what it asks and with which seeds, and nothing else of it."""

    id: str
    requests: tuple[LaidRequest, ...]
    seeds: Mapping[int, tuple[int, ...]]


def laid_names(samples: Sequence[Sample]) -> Mapping[str, str]:
    """Return the name that each sample bears in a workspace, by its id.

    Args:
        samples: All samples as the task returns them.
    """
    return {sample.id: f"{place:04}" for place, sample in enumerate(samples, start=1)}


def lines_of(task: Task, data: DataDir, protocol: ProtocolSpec) -> str:
    """Return the file's text: one line per sample, all of them.

    Raises:
        DataError: If the data lack what the task needs.
    """
    samples_of(task, data)  # refuses data that are not whole
    samples = task.samples(data)
    names = laid_names(samples)
    lines = []
    for sample in samples:
        asked = task.requests(sample, protocol.requests)
        seeds = {
            one.seed: tuple(sample_seed(one.seed, sample.id, 1, call) for call in range(len(asked)))
            for one in rounds_of(protocol)
            if one.seed is not None
        }
        laid = LaidSample(id=names[sample.id], requests=tuple(map(_laid, asked)), seeds=seeds)
        lines.append(msgspec.json.encode(laid).decode() + "\n")
    return "".join(lines)


def read_questions(path: Path) -> Mapping[str, SampleRequests]:
    """Return what each sample asks, by its name.

    Raises:
        UsageError: If the file is missing or damaged.
    """
    try:
        with path.open("rb") as stream:
            lines = [msgspec.json.decode(line, type=LaidSample) for line in stream]
        return {
            line.id: SampleRequests(
                id=line.id, requests=tuple(r.request for r in line.requests), seeds=line.seeds
            )
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
