"""Completions as they come from a sandbox: checked for form, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ptb_core.broker.calls import digest_of
from ptb_core.broker.messages import LINE_BYTES
from ptb_core.errors import PtbError
from ptb_core.evaluation.completion_log import LogEntry


class ReceivedError(PtbError):
    """What was posted is no log of the completions that were asked for; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A sample whose completions must be there.

    Attributes:
        id: Its id on this side.
        calls: Number of its requests.
    """

    id: str
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Completions whose form is right.

    Attributes:
        digest: Of all completions.
        samples: Digest of each sample's completions.
    """

    digest: str
    samples: Mapping[str, str]


def receive(
    posted: Path, target: Path, expected: Mapping[str, Expected], n_rounds: int
) -> Received:
    """Check posted completions and write them down for scoring.

    Results of checks that stand in them are left out: only the outside finds those.

    Args:
        posted: What was posted.
        target: The log of completions to write.
        expected: The samples that must be there, by the names that they bear in the sandbox.
        n_rounds: Number of rounds of the evaluation.

    Raises:
        ReceivedError: If a line is damaged, belongs to no expected request, or stands there
            twice, or if one is missing.
    """
    found: dict[tuple[str, int, int], bytes] = {}
    with target.open("wb") as log:
        for number, line in enumerate(_lines(posted), start=1):
            entry = _entry(line, number)
            key = (entry.id, entry.epoch, entry.call)
            fault = _fault(entry, expected, n_rounds)
            if fault is None and key in found:
                fault = f"call {entry.call} of sample {entry.id!r} stands there twice"
            if fault is not None:
                raise ReceivedError(f"line {number} of the completions: {fault}")
            completion = replace(entry.completion, checks={})
            clean = replace(entry, id=expected[entry.id].id, completion=completion)
            found[key] = bytes.fromhex(digest_of([msgspec.json.encode(completion)]))
            log.write(msgspec.json.encode(clean) + b"\n")
    n_all = n_rounds * sum(one.calls for one in expected.values())
    if len(found) < n_all:
        raise ReceivedError(
            f"{n_all - len(found)} of {n_all} completions are missing; a score "
            "needs all of the samples that the limit takes"
        )
    return Received(
        digest=digest_of(_in_order(found, list(expected))),
        samples=_by_sample(found),
    )


def _lines(posted: Path) -> Iterator[bytes]:
    with posted.open("rb") as stream:
        while line := stream.readline(LINE_BYTES + 1):
            if len(line) > LINE_BYTES:
                raise ReceivedError(f"a line of the completions is longer than {LINE_BYTES} bytes")
            yield line


def _entry(line: bytes, number: int) -> LogEntry:
    try:
        return msgspec.json.decode(line, type=LogEntry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReceivedError(
            f"line {number} of the completions cannot be read ({str(error)[:200]})"
        ) from error


def _fault(entry: LogEntry, expected: Mapping[str, Expected], n_rounds: int) -> str | None:
    sample = expected.get(entry.id)
    if sample is None:
        return f"{entry.id[:100]!r} is none of the {len(expected)} samples that the limit takes"
    if not 0 <= entry.call < sample.calls or entry.calls != sample.calls:
        return f"found call {entry.call} of {entry.calls}, expected one of {sample.calls} from 0"
    if not 1 <= entry.epoch <= n_rounds:
        return f"found round {entry.epoch}, expected one of {n_rounds} from 1"
    return None


def _in_order(
    found: Mapping[tuple[str, int, int], bytes], samples: Sequence[str]
) -> Iterator[bytes]:
    places = {sample: place for place, sample in enumerate(samples)}
    for key in sorted(found, key=lambda key: (key[1], places[key[0]], key[2])):
        yield found[key]


def _by_sample(found: Mapping[tuple[str, int, int], bytes]) -> dict[str, str]:
    parts: dict[str, list[bytes]] = {}
    for sample, _, _ in sorted(found):
        parts.setdefault(sample, [])
    for key in sorted(found):
        parts[key[0]].append(found[key])
    return {sample: digest_of(digests) for sample, digests in parts.items()}
