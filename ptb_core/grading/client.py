"""One request to the grader's endpoint: its reply, or an error that says what helps."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from ptb_core.evaluation.checking import StopCheckingError
from ptb_core.evaluation.checks import GraderCheck
from ptb_core.grading.endpoint import Key, key_obstacle, named, read_key
from ptb_core.grading.failures import HalfAnswerError, UnavailableError, failure_of
from ptb_core.grading.patience import GraderLimits, Timing, retry_after_s
from ptb_core.grading.replies import GraderReply, read_reply
from ptb_core.specs import GraderSpec, JsonValue

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession


def request_body(spec: GraderSpec, check: GraderCheck) -> dict[str, JsonValue]:
    """Return the body of a question's request: what the published graders are sent, no more.

    Source: the published tasks send neither temperature nor seed.
    """
    body: dict[str, JsonValue] = {
        "model": spec.model,
        "messages": [dict(message) for message in check.messages],
        "max_completion_tokens": check.max_completion_tokens,
    }
    if check.reasoning_effort is not None:
        body["reasoning_effort"] = check.reasoning_effort
    return body


class GraderClient:
    """Sends requests to one endpoint; use as an asynchronous context manager.

    Entering it reads the key.

    Raises:
        StopCheckingError: On entering, if the environment holds no usable key.
    """

    def __init__(self, spec: GraderSpec, limits: GraderLimits, timing: Timing) -> None:
        self._spec, self._limits, self._timing = spec, limits, timing
        self._key = Key(value="")
        self._session: ClientSession | None = None
        self._url = f"{spec.base_url.rstrip('/')}/chat/completions"

    async def __aenter__(self) -> GraderClient:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector

        obstacle = key_obstacle(self._spec)
        if obstacle is not None:
            raise StopCheckingError(obstacle)
        self._key = read_key(self._spec)
        headers = {"Content-Type": "application/json"}
        if self._key.value:
            headers["Authorization"] = f"Bearer {self._key.value}"
        self._session = ClientSession(
            connector=TCPConnector(limit=0), headers=headers, cookie_jar=DummyCookieJar()
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
            self._session = None

    async def ask(self, body: Mapping[str, JsonValue], timeout_s: float) -> GraderReply:
        """Send one request.

        Args:
            body: The request's body.
            timeout_s: Longest wait for the whole reply.

        Raises:
            UnavailableError: If waiting helps.
            HalfAnswerError: If the reply is not whole.
            CheckError: If the question is refused.
            StopCheckingError: If every question will be.
        """
        status, content, wait_s = await self._post(msgspec.json.encode(body), timeout_s)
        if status != 200:
            raise failure_of(status, content, wait_s, self._spec, self._key)
        return read_reply(content, self._key)

    async def _post(self, content: bytes, timeout_s: float) -> tuple[int, bytes, float | None]:
        from aiohttp import (
            ClientConnectorCertificateError,
            ClientError,
            ClientPayloadError,
            ClientTimeout,
            InvalidURL,
        )

        assert self._session is not None
        who = named(self._spec)
        try:
            async with self._session.post(
                self._url,
                data=content,
                allow_redirects=False,
                timeout=ClientTimeout(total=timeout_s),
                proxy=proxy_for(self._url),
            ) as response:
                wait_s = retry_after_s(response.headers.get("Retry-After"), self._timing.wall())
                return response.status, await self._read(response), wait_s
        except TimeoutError:
            raise UnavailableError(f"{who} gave no answer within {timeout_s:g} s") from None
        except ClientPayloadError:
            raise HalfAnswerError("its reply was cut off") from None
        except (ClientConnectorCertificateError, InvalidURL) as error:
            raise StopCheckingError(
                f"{who} cannot be reached: {self._words(error)}; mend base_url in the plan's "
                "`grader`, or this machine's certificates"
            ) from None
        except (ClientError, OSError) as error:
            raise UnavailableError(f"{who} cannot be reached: {self._words(error)}") from None

    async def _read(self, response: ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > self._limits.reply_bytes:
                response.close()
                raise HalfAnswerError(f"its reply is longer than {self._limits.reply_bytes} bytes")
        return bytes(content)

    def _words(self, error: Exception) -> str:
        return self._key.hidden_in(str(error)) or type(error).__name__


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for an address; never one for this machine."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
