"""A grader that a test tells what to say: an HTTP server on this machine, with every fault.

What it answers depends on the question and on how often that very question was put, never on time
or on the order in which questions arrive, so that a test comes out the same under any load::

    with ScriptedGrader(in_turn(failing(429, retry_after="2"), CUT_OFF, saying("[[A>B]]"))) as it:
        spec = GraderSpec(base_url=it.base_url, api_key_env=None)
        ...
    assert len(it.questions) == 3
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ptb_core.specs import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderQuestion:
    """A request that has arrived.

    Attributes:
        path: Path of the request.
        headers: Headers, names in lower case.
        body: The JSON body.
        text: Text of its last message.
        nth: How often this very body has arrived by now, from 1.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, JsonValue]
    text: str
    nth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderAnswer:
    """What is sent back.

    Attributes:
        status: HTTP status.
        content: The body.
        headers: Further headers.
        fault: ``hang`` never answers, ``disconnect`` closes the connection instead, ``cut-off``
            promises the body and sends half of it, ``drip`` sends it byte by byte.
    """

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Literal["none", "hang", "disconnect", "cut-off", "drip"] = "none"


Script: TypeAlias = Callable[[GraderQuestion], GraderAnswer]


def saying(
    text: str | None,
    *,
    finish_reason: str | None = "stop",
    usage: Mapping[str, JsonValue] | None = None,
    fault: Literal["none", "cut-off", "drip"] = "none",
) -> GraderAnswer:
    """Return a reply in the API's form; 10 prompt tokens and 5 answer tokens unless told."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    told = {"prompt_tokens": 10, "completion_tokens": 5} if usage is None else usage
    body = {"choices": [choice], "usage": dict(told)}
    return GraderAnswer(content=json.dumps(body).encode(), fault=fault)


def failing(
    status: int, message: str = "no", *, code: str | None = None, retry_after: str | None = None
) -> GraderAnswer:
    """Return an error in the API's form."""
    body = {"error": {"message": message, "code": code}}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return GraderAnswer(status=status, content=json.dumps(body).encode(), headers=headers)


HANG = GraderAnswer(fault="hang")
DISCONNECT = GraderAnswer(fault="disconnect")
CUT_OFF = saying("half of it", fault="cut-off")
NO_JSON = GraderAnswer(content=b"<html>Bad gateway</html>")


def in_turn(*answers: GraderAnswer) -> Script:
    """Return a script that gives each question these answers in turn, the last one for ever."""
    return lambda question: answers[min(question.nth, len(answers)) - 1]


class ScriptedGrader:
    """The server; runs in a thread from entering to leaving.

    Args:
        script: Says what to answer; an exception it raises is answered with status 500.
        hold: Keeps the first answers back until so many requests are under way at once, which
            proves that they were.

    Attributes:
        questions: Every request so far, in order of arrival.
        most_in_flight: Most requests that were under way at once.
    """

    def __init__(self, script: Script, *, hold: int = 1) -> None:
        self.questions: list[GraderQuestion] = []
        self.most_in_flight = 0
        self._script, self._hold = script, hold
        self._in_flight = 0
        self._seen: dict[bytes, int] = {}
        self._ready = threading.Event()
        self._port = 0

    @property
    def base_url(self) -> str:
        """Address for a :class:`~ptb_core.specs.GraderSpec`."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> ScriptedGrader:
        """Start the server."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection and end the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._full = asyncio.Event()
        running: set[asyncio.Task[None]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            running.add(task)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                try:
                    while await self._serve_one(reader, writer):
                        pass
                finally:
                    writer.close()
                    await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**24, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection goes on."""
        question = await self._read(reader)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        if self._in_flight >= self._hold:
            self._full.set()
        await self._full.wait()
        try:
            answer = self._script(question)
        except Exception as error:  # a wrong script must show in the test, not hang it
            answer = failing(500, f"the script raised {error!r}")
        if answer.fault == "hang":
            await self._stopped.wait()
        self._in_flight -= 1
        if answer.fault == "disconnect":
            return False
        await self._send(writer, answer)
        return answer.fault != "cut-off"

    async def _read(self, reader: asyncio.StreamReader) -> GraderQuestion:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        self._seen[content] = self._seen.get(content, 0) + 1
        body = json.loads(content or b"{}")
        question = GraderQuestion(
            path=first.split(" ")[1],
            headers=headers,
            body=body,
            text=body["messages"][-1]["content"] if body.get("messages") else "",
            nth=self._seen[content],
        )
        self.questions.append(question)
        return question

    async def _send(self, writer: asyncio.StreamWriter, answer: GraderAnswer) -> None:
        head = f"HTTP/1.1 {answer.status} Said\r\nContent-Length: {len(answer.content)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        writer.write(head.encode("latin-1") + b"\r\n")
        if answer.fault == "cut-off":
            writer.write(answer.content[: len(answer.content) // 2])
        elif answer.fault == "drip":
            for byte in answer.content:
                writer.write(bytes([byte]))
                await writer.drain()
        else:
            writer.write(answer.content)
        await writer.drain()


class PatientClock:
    """A clock that waits pass in an instant.

    Give its methods to a :class:`~ptb_core.grading.patience.Timing`.

    Attributes:
        seconds: The time.
        waits: Every wait, in seconds, in order.
    """

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        """Return the time."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and others work."""
        self.waits.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)
