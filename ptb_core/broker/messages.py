"""What evaluate.py and the broker say to each other, and how much of it.

One connection is one question. The inside sends one line of JSON, for a score followed by the
completions themselves as they stand in the log of
:class:`~ptb_core.evaluation.completion_log.CompletionLog`.
The outside answers with lines of JSON, the last of which is no :class:`Progress`, and closes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

SOCKET_VARIABLE = "PTB_BROKER"
"""Environment variable that holds the socket's path inside the sandbox."""

SOCKET_NAME = "broker"

HEAD_BYTES = 4096
"""Longest first line."""

LINE_BYTES = 16 * 2**20
"""Longest line of completions."""

BODY_BYTES = 256 * 2**20
"""Longest log of completions: over twice what the longest task can write with all its tokens."""

REPLY_BYTES = 4 * 2**20
"""Longest line that the inside reads."""


class AskSamples(msgspec.Struct, frozen=True, kw_only=True, tag="samples", tag_field="ask"):
    """Which samples does a limit take? ``limit`` None means all."""

    limit: int | None


class AskScore(msgspec.Struct, frozen=True, kw_only=True, tag="score", tag_field="ask"):
    """What are the completions worth that follow?

    Attributes:
        limit: Number of samples; None means all.
        size: Bytes of completions that follow.
    """

    limit: int | None
    size: int


Question: TypeAlias = AskSamples | AskScore


class Samples(msgspec.Struct, frozen=True, kw_only=True, tag="samples", tag_field="reply"):
    """The samples that a limit takes, in the order in which they must be asked.

    Attributes:
        ids: Their ids, or the names that stand for them where answers stay outside.
    """

    ids: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress", tag_field="reply"):
    """How far the scoring is: checks done and expected."""

    done: int
    total: int


class DevScore(msgspec.Struct, frozen=True, kw_only=True, tag="score", tag_field="reply"):
    """The score, under the scoring that counts.

    Attributes:
        value: A fraction in [0, 1].
        stderr: Standard error, or None where the task has none.
        n: Number of samples.
        breakdowns: Further numbers; empty where answers stay outside.
        marks: How many samples carry each mark; empty where answers stay outside.
    """

    value: float
    stderr: float | None
    n: int
    breakdowns: Mapping[str, float] = {}
    marks: Mapping[str, int] = {}


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal", tag_field="reply"):
    """Why there is no answer, in a sentence; asking the same again changes nothing."""

    reason: str


Reply: TypeAlias = Samples | Progress | DevScore | Refusal


def line_of(message: Question | Reply) -> bytes:
    """Return a message as one line."""
    return msgspec.json.encode(message) + b"\n"
