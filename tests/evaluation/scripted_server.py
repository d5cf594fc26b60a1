"""A server on a unix socket that answers as a test tells it; raw where it must be hostile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from ptb_core.api import Endpoint, ProcessHandle

Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


@contextmanager
def socket_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ptb-", dir="/tmp") as folder:
        yield Path(folder)


def endpoint(socket: Path, **changes: Any) -> Endpoint:
    process = ProcessHandle(session="none", id="0")
    return Endpoint(socket=socket, process=process, model_name="scripted", **changes)


@asynccontextmanager
async def raw_server(behave: Raw) -> AsyncIterator[Endpoint]:
    """Run ``behave`` on every connection of this event loop."""

    with socket_folder() as folder:
        async with serving(behave, folder / "s"):
            yield endpoint(folder / "s")


@asynccontextmanager
async def serving(behave: Raw, socket: Path) -> AsyncIterator[None]:
    """Run ``behave`` on every connection, and leave none open at the end."""
    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await behave(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_unix_server(handle, socket, limit=2**24)
    try:
        yield
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    """Return path and JSON body of one HTTP request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = 0
    for line in head.split("\r\n"):
        if line.lower().startswith("content-length:"):
            length = int(line.split(":")[1])
    body = json.loads(await reader.readexactly(length)) if length else {}
    return head.split(" ")[1], body


def http_reply(status: int, content: Any) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = f"HTTP/1.1 {status} Text\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chat_reply(text: str, finish_reason: str = "stop") -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def batches_of(bodies: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the last messages of each fixed batch by its name, all of them and by index."""
    found: dict[str, dict[int, str]] = {}
    sizes: dict[str, int] = {}
    for body in bodies:
        slot = body["ptb_batch"]
        found.setdefault(slot["id"], {})[slot["index"]] = body["messages"][-1]["content"]
        sizes[slot["id"]] = slot["size"]
    return {name: [found[name][index] for index in range(sizes[name])] for name in sorted(found)}


class ScriptedServer:
    """Answers with ``answer(path, body)`` from a thread; keeps the bodies it saw, in order."""

    def __init__(self, answer: Answer, **endpoint_fields: Any) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._answer, self._fields = answer, endpoint_fields
        self._ready = threading.Event()

    def __enter__(self) -> ScriptedServer:
        self._folder = tempfile.TemporaryDirectory(prefix="ptb-", dir="/tmp")
        self.endpoint = endpoint(Path(self._folder.name) / "s", **self._fields)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._folder.cleanup()

    async def _main(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        async with serving(self._serve, self.endpoint.socket):
            self._ready.set()
            await self._stopped.wait()

    async def _before_answer(self) -> None:
        """Wait before a request that has been read is answered."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path, body = await read_request(reader)
            if path != "/health":
                self.bodies.append(body)
            await self._before_answer()
            status, content = self._answer(path, body)
            if status == 0:
                return
            writer.write(http_reply(status, content))
            await writer.drain()


class HoldingServer(ScriptedServer):
    """Holds its answers until no further request comes, then gives all of them at once.

    None comes any more when the loops of server and client have both gone round ``QUIET_TURNS``
    times without one: :meth:`beat` must be called in every turn of the client's. No clock is read.

    Attributes:
        held: Number of requests that were open, each time that none came any more.
        most_open: Most requests that ever were open.
    """

    QUIET_TURNS = 100

    def __init__(self, answer: Answer, **endpoint_fields: Any) -> None:
        super().__init__(answer, **endpoint_fields)
        self.held: list[int] = []
        self.most_open = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._turns = 0
        self._is_turned = threading.Event()
        self._is_turned.set()

    def beat(self, *_: object) -> None:
        """Count a turn once the server's loop has gone round since the last one."""
        if self._is_turned.is_set():
            self._is_turned.clear()
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._turns += 1
        if self._waiting and self._turns >= self.QUIET_TURNS:
            self.held.append(len(self._waiting))
            for future in self._waiting:
                future.set_result(None)
            self._waiting = []
        self._is_turned.set()

    async def _before_answer(self) -> None:
        future = self._loop.create_future()
        self._waiting.append(future)
        self._turns = 0
        self.most_open = max(self.most_open, len(self._waiting))
        await future
