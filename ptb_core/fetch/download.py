"""Plain HTTP downloads: resumed where they broke off, tried again, checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ptb_core.canonical import file_sha256
from ptb_core.errors import DataError
from ptb_core.fetch.context import FetchContext
from ptb_core.specs import JsonValue

if TYPE_CHECKING:
    from http.client import HTTPResponse

ResultT = TypeVar("ResultT")

ATTEMPTS = 5
TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 20.0
"""Seconds between attempts: 1, 2, 4, 8, never more than 20."""


class BrokenDownloadError(Exception):
    """A download that may go better when tried again."""


class HttpStatusError(Exception):
    """An HTTP status that trying again will not change.

    Attributes:
        status: The status.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"HTTP {status} {reason}")


def download(
    url: str,
    target: Path,
    what: str,
    context: FetchContext,
    *,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Download a file to ``target``; a part that is there from before is continued.

    The part lies beside the target as ``<name>.part`` until it is whole and checked.

    Args:
        url: Address.
        target: File to make; its folder is made too.
        what: Name of the thing, for progress and errors.
        context: Cache and progress.
        sha256: Hex digest that the file must have.
        headers: Sent to the first host only, never to where it redirects.

    Raises:
        HttpStatusError: If the server refuses it for good.
        DataError: If it cannot be had after all attempts, or has another digest.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _with_retries(lambda: _continue(url, part, what, context, headers or {}), url)
    if sha256 is not None and file_sha256(part) != sha256:
        # A part from before may have been of another version: once more from nothing.
        part.unlink()
        _with_retries(lambda: _continue(url, part, what, context, headers or {}), url)
        found = file_sha256(part)
        if found != sha256:
            part.unlink()
            raise DataError(
                f"{what}: {url} has the sha256 {found}, expected {sha256}; the file was changed at "
                "its source. Give the right one in a mirror folder (--mirror)"
            )
    part.replace(target)


def get_json(url: str, headers: Mapping[str, str] | None = None) -> JsonValue:
    """Return the JSON at an address.

    Raises:
        HttpStatusError: If the server refuses it for good.
        DataError: If it cannot be had after all attempts, or is no JSON.
    """

    def read() -> bytes:
        with _open(url, headers or {}) as response:
            return response.read()

    content = _with_retries(read, url)
    try:
        return json.loads(content)
    except ValueError as error:
        raise DataError(f"{url} answered with something that is no JSON ({error})") from error


def _with_retries(action: Callable[[], ResultT], url: str) -> ResultT:
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BrokenDownloadError),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        reraise=True,
    )
    try:
        result: ResultT = retrying(_translated, action)
        return result
    except BrokenDownloadError as error:
        raise DataError(
            f"{url} could not be fetched in {ATTEMPTS} attempts ({error}); check the network, or "
            "name a folder that holds the file with --mirror or PTB_MIRROR"
        ) from error


def _translated(action: Callable[[], ResultT]) -> ResultT:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    try:
        return action()
    except HTTPError as error:
        with error:
            if error.code >= 500 or error.code in (408, 429):
                raise BrokenDownloadError(f"HTTP {error.code} {error.reason}") from error
            raise HttpStatusError(error.code, error.reason) from error
    except URLError as error:
        raise BrokenDownloadError(str(error.reason)) from error
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise BrokenDownloadError(str(error) or type(error).__name__) from error


def _continue(
    url: str, part: Path, what: str, context: FetchContext, headers: Mapping[str, str]
) -> None:
    from http import HTTPStatus
    from urllib.error import HTTPError

    start = part.stat().st_size if part.exists() else 0
    ranged = {**headers, "Range": f"bytes={start}-"} if start else headers
    try:
        response = _open(url, ranged)
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        with error:
            if error.headers.get("Content-Range", "").endswith(f"/{start}"):
                return
        part.unlink()
        raise BrokenDownloadError("the part from before is longer than the file") from error
    with response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        done = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as stream:
            while chunk := response.read(CHUNK_BYTES):
                stream.write(chunk)
                done += len(chunk)
                context.progress(what, done, total)
    if total is not None and done != total:
        raise BrokenDownloadError(f"the connection ended at byte {done} of {total}")


def _open(url: str, headers: Mapping[str, str]) -> HTTPResponse:
    from urllib.request import Request, urlopen

    request = Request(url)
    for name, value in headers.items():
        # Urllib would send ordinary headers, a token among them, to every host it is sent on to.
        if name == "Range":
            request.add_header(name, value)
        else:
            request.add_unredirected_header(name, value)
    response: HTTPResponse = urlopen(request, timeout=TIMEOUT_S)
    return response
