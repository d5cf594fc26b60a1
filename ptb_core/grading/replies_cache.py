"""Replies that are paid for, kept by the whole request: no question is paid twice.

A request is its address, model and body. The address belongs to it although the model's name says
who answers: a server tried out on this machine may call itself what it likes, and its replies must
never pass for those of the real one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ptb_core.canonical import canonical_json
from ptb_core.grading.shared_log import SharedLog
from ptb_core.specs import JsonValue


class KeptReply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply that a task has accepted.

    Attributes:
        request: See :func:`request_digest`.
        text: The reply.
        tries: Times the question was asked.
    """

    request: str
    text: str
    tries: int


def request_digest(base_url: str, body: Mapping[str, JsonValue]) -> str:
    """Return the sha256 of a whole request."""
    whole = {"base_url": base_url.rstrip("/"), "body": body}
    return hashlib.sha256(canonical_json(whole)).hexdigest()


class RepliesCache:
    """The replies kept in a folder, by all who have ever written there.

    Raises:
        RecordError: If a file in it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._log = SharedLog(folder, KeptReply, "grader reply")
        self._kept: dict[str, list[KeptReply]] = {}
        for path, _ in self._log.files():
            for reply in self._log.read(path):
                self._kept.setdefault(reply.request, []).append(reply)

    def get(self, request: str, accepts: Callable[[str], bool]) -> KeptReply | None:
        """Return a kept reply to a request that a task accepts, always the same one.

        There are several where two processes asked at once, or where a task came to accept less.
        """
        return next((one for one in self._kept.get(request, ()) if accepts(one.text)), None)

    def put(self, reply: KeptReply) -> None:
        """Keep a reply.

        Raises:
            OSError: If it cannot be written.
        """
        self._log.append(reply)
        self._kept.setdefault(reply.request, []).append(reply)

    def close(self) -> None:
        """End writing."""
        self._log.close()
