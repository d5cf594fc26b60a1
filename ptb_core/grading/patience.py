"""How long and how often a question is put: waits, deadlines, and clocks a test can replace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ptb_core.grading.failures import UnavailableError

if TYPE_CHECKING:
    from tenacity import RetryCallState

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderLimits:
    """Bounds on time, size and patience.

    Attributes:
        question_s: Longest time for one question, all its requests and waits included.
        requests: Requests without any reply after which a question is given up; those that an
            endpoint turns away because it is asked too often (429) do not count.
        backoff_s: Wait before the second request; doubles with each further one.
        longest_wait_s: Longest single wait, also when the endpoint asks for a longer one.
        unanswered: Questions given up in a row after which no further one is put.
        reply_bytes: Largest reply.
    """

    question_s: float = 3600.0
    requests: int = 8
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    unanswered: int = 16
    reply_bytes: int = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clocks, waiting and chance.

    Attributes:
        now: Seconds that only grow.
        wall: Unix time in seconds, for ``Retry-After`` as a date.
        sleep: Waits for a number of seconds.
        chance: A number in [0, 1).
    """

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


def retry_after_s(header: str | None, wall_s: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, 0 or more.

    Args:
        header: A number of seconds or an HTTP date; None when there is none.
        wall_s: Unix time now.

    Returns:
        None when the header says nothing that can be read.
    """
    if header is None:
        return None
    from email.utils import parsedate_to_datetime

    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - wall_s
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


class Patience:
    """Puts questions until they are answered; what one is told to wait, all wait.

    Attributes:
        retries: Requests that were sent again because the endpoint did not answer.
    """

    def __init__(self, limits: GraderLimits, timing: Timing) -> None:
        self.retries = 0
        self._limits, self._timing = limits, timing
        self._closed_until = 0.0

    def wait_s(self, number: int) -> float:
        """Return how long to wait after failure ``number``, counting from 1: about, and capped."""
        longest = self._limits.backoff_s * 2.0 ** min(number - 1, 30)
        return min(longest, self._limits.longest_wait_s) * (0.5 + 0.5 * self._timing.chance())

    async def until_answered(
        self, ask: Callable[[], Awaitable[ResultT]], deadline_s: float
    ) -> ResultT:
        """Call ``ask`` until it answers or waiting does not help.

        Args:
            ask: Sends the request.
            deadline_s: When, by the clock, no further request is sent.

        Raises:
            UnavailableError: Of the last request, when patience or time are over.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type

        unanswered = 0

        def is_over(state: RetryCallState) -> bool:
            nonlocal unanswered
            error = state.outcome.exception() if state.outcome is not None else None
            if not (isinstance(error, UnavailableError) and error.is_rate_limit):
                unanswered += 1
            is_late = self._timing.now() + state.upcoming_sleep >= deadline_s
            return is_late or unanswered >= self._limits.requests

        tries = AsyncRetrying(
            sleep=self._timing.sleep,
            wait=self._wait,
            stop=is_over,
            retry=retry_if_exception_type(UnavailableError),
            before_sleep=self._count,
            reraise=True,
        )
        async for attempt in tries:
            with attempt:
                await self._opened()
                return await ask()
        raise AssertionError("tenacity answers or raises")

    def _wait(self, state: RetryCallState) -> float:
        backoff_s = self.wait_s(state.attempt_number)
        error = state.outcome.exception() if state.outcome is not None else None
        asked_s = error.retry_after_s if isinstance(error, UnavailableError) else None
        if asked_s is None:
            return backoff_s
        capped_s = min(asked_s, self._limits.longest_wait_s)
        self._closed_until = max(self._closed_until, self._timing.now() + capped_s)
        return capped_s + self._limits.backoff_s * self._timing.chance()

    def _count(self, _: RetryCallState) -> None:
        self.retries += 1

    async def _opened(self) -> None:
        """Wait while the endpoint has asked, in reply to whichever request, to be left alone."""
        while (left_s := self._closed_until - self._timing.now()) > 0:
            await self._timing.sleep(left_s + self._limits.backoff_s * self._timing.chance())
