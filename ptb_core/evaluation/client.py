"""Asking a server that holds untrusted weights: bounded in time, size and patience.

The server answers with a :class:`~ptb_core.evaluation.exchange.Completion`, or there is no
answer and :class:`ReplyError` says why. Status 400 is an answer when it says that the prompt is
too long, as the published evaluation takes it; any other refusal is no answer: what is wrong with
the request, the template or the server would else count as a wrong answer of every sample.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ptb_core.errors import EngineError
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.exchange import (
    ChatRequest,
    Completion,
    LogLikelihoodRequest,
    Request,
)
from ptb_core.evaluation.replies import (
    UnreadableReplyError,
    read_error,
    read_reply,
    says_too_long,
)
from ptb_core.interfaces import Endpoint
from ptb_core.specs import JsonValue

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which asking again may help."""

ResultT = TypeVar("ResultT")


class ReplyError(EngineError):
    """A question has no usable answer.

    Attributes:
        is_transient: True when the same question may be answered later: the connection broke,
            or the server reported a fault of its own.
    """

    def __init__(self, message: str, *, is_transient: bool) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class EngineClient:
    """Asks one endpoint; use as an asynchronous context manager."""

    def __init__(self, endpoint: Endpoint, limits: ClientLimits) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._session: ClientSession | None = None

    async def __aenter__(self) -> EngineClient:
        from aiohttp import ClientSession, ClientTimeout, UnixConnector

        self._session = ClientSession(
            connector=UnixConnector(str(self._endpoint.socket), limit=0),
            timeout=ClientTimeout(total=self._limits.reply_s, connect=self._limits.connect_s),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: Request, body: Mapping[str, JsonValue]) -> Completion:
        """Ask once.

        Args:
            request: What the question is; decides route and form of the answer.
            body: The request's body, as :func:`ptb_core.evaluation.questions.request_body`
                makes it; the model's name is added.

        Raises:
            ReplyError: If there is no usable answer.
        """
        is_chat = isinstance(request, ChatRequest)
        route = "/v1/chat/completions" if is_chat else "/v1/completions"
        status, content = await self._post(route, body, self._most_bytes(request, body))
        if status == 400 and says_too_long(words := read_error(content)):
            return Completion(text=None, finish_reason="error", error=words, http_status=400)
        if status != 200:
            raise ReplyError(
                f"the server answered status {status}: {read_error(content)}",
                is_transient=status >= 500 or status in TRANSIENT_STATUSES,
            )
        try:
            return read_reply(content, request)
        except UnreadableReplyError as error:
            raise ReplyError(f"the server's answer {error}", is_transient=False) from error

    async def is_alive(self) -> bool:
        """Say whether the server answers at all."""
        from aiohttp import ClientError, ClientTimeout

        assert self._session is not None
        timeout = ClientTimeout(total=self._limits.connect_s)
        try:
            async with self._session.get("http://engine/health", timeout=timeout) as response:
                return response.status == 200
        except (ClientError, TimeoutError, OSError):
            return False

    def _most_bytes(self, request: Request, body: Mapping[str, JsonValue]) -> int:
        """Return the size of the largest reply that so many tokens can need.

        Log-probabilities come with every token of the prompt, so that they have the whole room.
        """
        most = self._limits.reply_bytes
        tokens = body.get("max_tokens")
        if isinstance(request, LogLikelihoodRequest) or not isinstance(tokens, int):
            return most
        return min(most, self._limits.head_bytes + tokens * self._limits.token_bytes)

    async def _post(
        self, route: str, body: Mapping[str, JsonValue], most_bytes: int
    ) -> tuple[int, bytes]:
        from aiohttp import ClientError

        assert self._session is not None
        content = msgspec.json.encode({"model": self._endpoint.model_name, **body})
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                f"http://engine{route}", data=content, headers=headers, allow_redirects=False
            ) as response:
                return response.status, await self._read(response, most_bytes)
        except TimeoutError as error:
            raise ReplyError(
                f"the server gave no answer within {self._limits.reply_s:g} s", is_transient=False
            ) from error
        except (ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise ReplyError(f"the connection broke: {reason}", is_transient=True) from error

    async def _read(self, response: ClientResponse, most_bytes: int) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > most_bytes:
                response.close()
                raise ReplyError(
                    f"the server's answer is larger than {most_bytes} bytes",
                    is_transient=False,
                )
        return bytes(content)


async def with_tries(ask: Callable[[int], Awaitable[ResultT]], limits: ClientLimits) -> ResultT:
    """Call ``ask(number of the try)`` until it answers, fails for good, or patience ends.

    Raises:
        ReplyError: Of the last try.
    """
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

    tries = AsyncRetrying(
        stop=stop_after_attempt(limits.tries),
        wait=wait_exponential(multiplier=limits.backoff_s, max=30),
        retry=retry_if_exception(lambda e: isinstance(e, ReplyError) and e.is_transient),
        reraise=True,
    )
    async for attempt in tries:
        with attempt:
            return await ask(attempt.retry_state.attempt_number)
    raise AssertionError("tenacity answers or raises")
