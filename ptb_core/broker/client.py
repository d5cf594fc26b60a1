"""The inside of the broker: what evaluate.py asks it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from ptb_core.broker.messages import (
    BODY_BYTES,
    REPLY_BYTES,
    SOCKET_VARIABLE,
    AskSamples,
    AskScore,
    DevScore,
    Progress,
    Question,
    Refusal,
    Reply,
    Samples,
    line_of,
)
from ptb_core.errors import PtbError, UsageError

PATIENCE_S = 120.0
"""How long a broker that does not answer is waited for: it may just be starting again."""

TRIES = 3
"""Times that a question is asked whose connection breaks after longer than ``PATIENCE_S``."""

PAUSE_S = 1.0
SEND_S = 60.0


class BrokerError(PtbError):
    """The broker gives no score; the text says why."""


class BrokerClient:
    """Asks the broker whose socket the environment names.

    Args:
        path: The socket.
        patience_s: How long one that does not answer is waited for.
    """

    def __init__(self, path: Path, patience_s: float = PATIENCE_S) -> None:
        self._path = path
        self._patience_s = patience_s

    def samples(self, limit: int | None) -> tuple[str, ...]:
        """Return the ids of the samples that a limit takes, in order.

        Raises:
            BrokerError: If the broker gives no answer.
        """
        reply = self._ask(AskSamples(limit=limit), None, lambda *_: None)
        if not isinstance(reply, Samples):
            raise BrokerError(f"the broker answered {type(reply).__name__}, expected Samples")
        return reply.ids

    def score(
        self, limit: int | None, completions: Path, progress: Callable[[int, int], None]
    ) -> DevScore:
        """Return the score of completions.

        Args:
            limit: Number of samples; None means all.
            completions: A log of completions of all these samples.
            progress: Told the number of checks done and expected.

        Raises:
            BrokerError: If the broker gives no score.
        """
        size = completions.stat().st_size
        if size > BODY_BYTES:
            raise BrokerError(
                f"the completions take {size} bytes and the broker accepts {BODY_BYTES}; give a "
                "smaller --limit or --max-tokens"
            )
        reply = self._ask(AskScore(limit=limit, size=size), completions, progress)
        if not isinstance(reply, DevScore):
            raise BrokerError(f"the broker answered {type(reply).__name__}, expected DevScore")
        return reply

    def _ask(
        self, question: Question, body: Path | None, progress: Callable[[int, int], None]
    ) -> Reply:
        """Ask until there is an answer; a connection that breaks counts as none."""
        silent_since = time.monotonic()
        tries = TRIES
        while True:
            began = time.monotonic()
            try:
                reply = self._once(question, body, progress)
            except OSError as error:
                now = time.monotonic()
                if now - began > self._patience_s:  # it broke in the middle of its work
                    silent_since, tries = now, tries - 1
                if now - silent_since >= self._patience_s or not tries:
                    reason = error.strerror or str(error) or type(error).__name__
                    raise BrokerError(
                        f"the broker at {self._path} gives no answer ({reason}); it scores "
                        "completions outside this sandbox and may be starting again: try later"
                    ) from error
                time.sleep(PAUSE_S)
                continue
            if isinstance(reply, Refusal):
                raise BrokerError(f"there is no score: {reply.reason}")
            return reply

    def _once(
        self, question: Question, body: Path | None, progress: Callable[[int, int], None]
    ) -> Reply:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(SEND_S)
            link.connect(str(self._path))
            # It may have refused before it had read everything; the answer says so.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.sendall(line_of(question))
                if body is not None:
                    with body.open("rb") as stream:
                        link.sendfile(stream)
            link.settimeout(None)
            with link.makefile("rb") as answers:
                return _last(answers, progress)


def broker_client() -> BrokerClient:
    """Return the client of this sandbox's broker.

    Raises:
        UsageError: If the environment names none.
    """
    path = os.environ.get(SOCKET_VARIABLE, "")
    if not path:
        raise UsageError(
            f"{SOCKET_VARIABLE} names no socket; evaluate.py has its completions scored through "
            "it, outside this sandbox, and works only where the agent was started"
        )
    return BrokerClient(Path(path))


def _last(answers: BinaryIO, progress: Callable[[int, int], None]) -> Reply:
    while line := answers.readline(REPLY_BYTES):
        try:
            reply: Reply = msgspec.json.decode(line, type=Reply)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BrokerError(f"the broker's answer cannot be read ({error})") from error
        if not isinstance(reply, Progress):
            return reply
        progress(reply.done, reply.total)
    raise ConnectionResetError("the connection was closed before the answer")
