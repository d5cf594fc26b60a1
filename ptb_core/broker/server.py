"""The broker's socket: bounded in connections, bytes and time, whatever is at the other end.

Whoever holds the socket can only waste an own turn. At most ``HANDLERS`` connections are read at
once, further ones wait in the kernel; each has to send its question within a time, and posted
completions lie on the disk while they wait for the one scoring that runs.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.broker.messages import (
    BODY_BYTES,
    HEAD_BYTES,
    AskSamples,
    AskScore,
    Progress,
    Question,
    Refusal,
    Reply,
    Samples,
    line_of,
)
from ptb_core.broker.received import ReceivedError
from ptb_core.broker.scoring import RefusedError, Scorer, UnscoredError

HANDLERS = 3
TELL_EVERY_S = 1.0
JOIN_S = 10.0
_BACKLOG = 16
_CHUNK = 2**20


class HungUpError(Exception):
    """The other end is gone, too slow, or says nothing that can be read."""


class ClosingError(Exception):
    """The broker ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a connection may take, in seconds.

    Attributes:
        head_s: Until its question has arrived.
        body_s: Until its completions have arrived.
        silence_s: Between two pieces of what it sends or takes.
        pause_s: Shortest time between the beginnings of two scorings: an agent has no use for
            more, and a log of the calls of many hours stays small.
        scoring_s: Longest scoring; after it the kernel ends this process, because a pattern that
            runs away can be ended in no other way. The supervisor starts another.
    """

    head_s: float = 10.0
    body_s: float = 300.0
    silence_s: float = 30.0
    pause_s: float = 1.0
    scoring_s: int = 4 * 3600


class BrokerServer:
    """Answers questions on a socket until it is closed; use as a context manager.

    Args:
        path: Where the socket is to be; one that a dead broker left is replaced.
        scorer: Scores completions.
        patience: How long a connection may take.
    """

    def __init__(self, path: Path, scorer: Scorer, patience: Patience | None = None) -> None:
        self._scorer = scorer
        self._patience = patience or Patience()
        self._closing = threading.Event()
        self._scoring = threading.Lock()
        self._links: set[socket.socket] = set()
        self._last_s = float("-inf")
        self._listener = _listen(path)
        self._threads = [
            threading.Thread(target=self._work, name=f"ptb-broker-{number}", daemon=True)
            for number in range(HANDLERS)
        ]

    def __enter__(self) -> BrokerServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RD)
        for thread in self._threads:
            thread.join(JOIN_S)
        self._listener.close()

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                # Out of descriptors, or closing.
                self._closing.wait(0.1)
                continue
            self._links.add(link)
            try:
                with link, contextlib.suppress(HungUpError, ClosingError):
                    self._answer(link)
            finally:
                self._links.discard(link)

    def _answer(self, link: socket.socket) -> None:
        reply: Reply
        try:
            reply = self._reply(link)
        except (HungUpError, ClosingError):
            raise
        except UnscoredError as error:
            reply = Refusal(reason=error.told)
        except (RefusedError, ReceivedError) as error:
            self._scorer.log.refused(str(error))
            reply = Refusal(reason=str(error))
        except Exception as error:
            # Its words may quote an answer.
            self._scorer.log.refused(f"{type(error).__name__}: {error}"[:500])
            reply = Refusal(reason="the broker failed; the operator's log says why")
        self._send(link, reply)
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)

    def _reply(self, link: socket.socket) -> Reply:
        question, rest = self._read_question(link)
        if isinstance(question, AskSamples):
            return Samples(ids=self._scorer.ids(question.limit))
        if not 0 < question.size <= BODY_BYTES:
            raise RefusedError(
                f"completions of {question.size} bytes; the broker accepts 1 to {BODY_BYTES}"
            )
        self._scorer.ids(question.limit)
        posted = self._scorer.folder / f"posted-{threading.get_ident()}"
        try:
            self._read_body(link, posted, rest, question.size)
            with self._turn(link):
                return self._scorer.score(posted, question.limit, self._progress(link))
        finally:
            posted.unlink(missing_ok=True)

    def _read_question(self, link: socket.socket) -> tuple[AskSamples | AskScore, bytes]:
        """Return the question, and what came behind it."""
        until = time.monotonic() + self._patience.head_s
        head = b""
        while b"\n" not in head:
            if len(head) >= HEAD_BYTES:
                raise RefusedError(f"the question is longer than {HEAD_BYTES} bytes")
            head += self._receive(link, HEAD_BYTES, until)
        line, _, rest = head.partition(b"\n")
        try:
            return msgspec.json.decode(line, type=Question), rest
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError(f"the question cannot be read ({str(error)[:200]})") from error

    def _read_body(self, link: socket.socket, target: Path, rest: bytes, size: int) -> None:
        until = time.monotonic() + self._patience.body_s
        if len(rest) > size:
            raise RefusedError(f"more than the {size} bytes of completions that were announced")
        with target.open("wb", buffering=0) as stream:
            stream.write(rest)
            left = size - len(rest)
            while left:
                chunk = self._receive(link, min(left, _CHUNK), until)
                stream.write(chunk)
                left -= len(chunk)

    def _receive(self, link: socket.socket, size: int, until: float) -> bytes:
        if self._closing.is_set():
            raise ClosingError
        left = until - time.monotonic()
        if left <= 0:
            raise HungUpError
        link.settimeout(min(left, self._patience.silence_s))
        try:
            chunk = link.recv(size)
        except OSError as error:
            raise HungUpError from error
        if not chunk:
            raise HungUpError
        return chunk

    @contextlib.contextmanager
    def _turn(self, link: socket.socket) -> Iterator[None]:
        """Wait for the other scorings, telling the other end that this still lives."""
        while not self._scoring.acquire(timeout=1.0):
            self._tell(link, 0, 0)
        try:
            wait_s = self._last_s + self._patience.pause_s - time.monotonic()
            if self._closing.wait(max(0.0, wait_s)):
                raise ClosingError
            self._last_s = time.monotonic()
            signal.alarm(self._patience.scoring_s)
            yield
        finally:
            signal.alarm(0)
            self._scoring.release()

    def _progress(self, link: socket.socket) -> Callable[[int, int], None]:
        """Return what tells the other end how far it is, now and then."""
        told_s = float("-inf")

        def progress(done: int, total: int) -> None:
            nonlocal told_s
            if self._closing.is_set():
                raise ClosingError
            if time.monotonic() - told_s >= TELL_EVERY_S:
                told_s = time.monotonic()
                self._tell(link, done, total)

        return progress

    def _tell(self, link: socket.socket, done: int, total: int) -> None:
        if self._closing.is_set():
            raise ClosingError
        self._send(link, Progress(done=done, total=total))

    def _send(self, link: socket.socket, reply: Reply) -> None:
        link.settimeout(self._patience.silence_s)
        try:
            link.sendall(line_of(reply))
        except OSError as error:
            raise HungUpError from error


def _listen(path: Path) -> socket.socket:
    """Return a listening socket that takes the path's place in one step."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(fresh))
        listener.listen(_BACKLOG)
        fresh.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener
