"""What is kept of every question to the broker: evidence, and the count of a plan's limit.

A score is told to the agent, so every call tells it a little about the answers: that is what a
development evaluation is for, and what an agent can abuse by asking again and again with one
answer changed. The log shows it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from ptb_core.evaluation.json_log import JsonLog, read_log
from ptb_core.integrity import DevelopmentUse

CALLS = "calls.jsonl"
REFUSALS_KEPT = 1000
"""Refusals are written down up to this number, so that a flood of them fills no disk."""


class CallEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line.

    Attributes:
        event: ``asked`` when completions were accepted for scoring, ``scored`` when the score was
            found, ``failed`` when it was not, ``refused`` when the question made no sense.
        unix_s: When.
        number: Which call, from 1, for ``asked`` and what follows it.
        limit: Number of samples that were asked for; None means all.
        n: Number of samples scored.
        completions: First 16 hex digits of the sha256 of what was posted.
        changed: Samples whose completions differ from those of the call before, among the samples
            of both; None for a process's first call.
        value: The score told.
        seconds: How long the scoring took.
        reason: Why there is no score.
    """

    event: Literal["asked", "scored", "failed", "refused"]
    unix_s: float
    number: int | None = None
    limit: int | None = None
    n: int | None = None
    completions: str | None = None
    changed: int | None = None
    value: float | None = None
    seconds: float | None = None
    reason: str | None = None


class CallLog:
    """The open log; used by one process at a time, from any of its threads.

    Args:
        path: JSON lines; created, or continued.

    Raises:
        RecordError: If a line other than a torn last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._log = JsonLog(path, CallEvent, "call")
        self._writing = threading.Lock()
        self._known = {e.completions for e in self._log.entries if e.event == "asked"}
        self._number = max((e.number or 0 for e in self._log.entries), default=0)
        self._refusals = sum(e.event == "refused" for e in self._log.entries)
        self._last: Mapping[str, str] | None = None

    @property
    def distinct(self) -> int:
        """Number of different sets of completions that were accepted for scoring."""
        return len(self._known)

    def knows(self, digest: str) -> bool:
        """Say whether these completions were accepted before; asking again tells nothing new."""
        return digest in self._known

    def asked(self, limit: int | None, digest: str, samples: Mapping[str, str]) -> int:
        """Note that completions were accepted; return the call's number.

        Args:
            limit: Number of samples; None means all.
            digest: Of all completions.
            samples: Digest of each sample's completions.
        """
        self._number += 1
        self._known.add(digest)
        self._write(
            event="asked",
            number=self._number,
            limit=limit,
            n=len(samples),
            completions=digest,
            changed=_changed(self._last, samples),
        )
        self._last = samples
        return self._number

    def scored(self, number: int, value: float, seconds: float) -> None:
        """Note the score that was told."""
        self._write(event="scored", number=number, value=value, seconds=round(seconds, 3))

    def failed(self, number: int, reason: str, seconds: float) -> None:
        """Note why no score was told."""
        self._write(event="failed", number=number, reason=reason, seconds=round(seconds, 3))

    def refused(self, reason: str) -> None:
        """Note a question that made no sense, unless there were too many."""
        self._refusals += 1
        if self._refusals < REFUSALS_KEPT:
            self._write(event="refused", reason=reason)
        elif self._refusals == REFUSALS_KEPT:
            self._write(event="refused", reason=f"{reason}; further refusals are not written down")

    def close(self) -> None:
        """Close the log."""
        self._log.__exit__(None, None, None)

    def _write(self, **fields: object) -> None:
        event = msgspec.convert({"unix_s": time.time(), **fields}, CallEvent)
        with self._writing:
            self._log.append(event)


def read_calls(path: Path) -> list[CallEvent]:
    """Return all events of a log; an absent log is empty.

    Raises:
        RecordError: If a line other than a torn last one is damaged.
    """
    return read_log(path, CallEvent, "call")[0]


def use_of(events: Iterable[CallEvent]) -> DevelopmentUse:
    """Return what judges are told of a log."""
    asked: dict[int | None, CallEvent] = {}
    scores = samples = probes = refusals = 0
    for event in events:
        if event.event == "asked":
            asked[event.number] = event
        elif event.event == "refused":
            refusals += 1
        elif event.event == "scored" and event.number in asked:
            call = asked[event.number]
            scores += 1
            samples += call.n or 0
            probes += _is_probe(call)
    return DevelopmentUse(scores=scores, samples=samples, probes=probes, refusals=refusals)


def _is_probe(call: CallEvent) -> bool:
    n = call.n or 0
    return n == 1 or (call.changed is not None and 0 < call.changed <= max(1, n // 20))


def digest_of(parts: Iterable[bytes]) -> str:
    """Return the first 16 hex digits of the sha256 over length-prefixed parts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:16]


def _changed(before: Mapping[str, str] | None, now: Mapping[str, str]) -> int | None:
    if before is None:
        return None
    return sum(before[sample] != digest for sample, digest in now.items() if sample in before)
