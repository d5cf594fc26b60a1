"""A server that behaves like vLLM under load: continuous batching, time per step, prefill cost.

Run as a program it serves OpenAI chat completions on a unix socket, in real time. The same model
of time, run without waiting, gives the shortest time in which it can answer a set of requests.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PIECE = "word "
"""A token of the answers; about as many characters as a real one has."""

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How fast the server is.

    Attributes:
        slots: Sequences that are decoded at once (``max_num_seqs``).
        step_ms: Time of a step, however many sequences it decodes.
        sequence_ms: Further time of a step per sequence.
        prefill_ms: Time per 1000 prompt tokens, added to the step that takes them in.
    """

    slots: int
    step_ms: float = 4.0
    sequence_ms: float = 0.02
    prefill_ms: float = 1.0

    def step_s(self, active: int, new_prompt_tokens: int) -> float:
        """Return the time of one step that decodes ``active`` sequences."""
        prefill = self.prefill_ms * new_prompt_tokens / 1000
        return (self.step_ms + self.sequence_ms * active + prefill) / 1000


@dataclass(slots=True, kw_only=True)
class Stream:
    """One request under way, and how many tokens it still gets."""

    prompt_tokens: int
    left: int
    done: asyncio.Event | None = field(default=None)


def lengths(body: dict[str, object], mean: float) -> tuple[int, int]:
    """Return the numbers of prompt and answer tokens of a request: fixed by what it asks.

    Answers are log-normally distributed about ``mean``, and end at ``max_tokens``.
    """
    asked = json.dumps([body.get("messages"), body.get("tools")], ensure_ascii=False)
    chance = random.Random(hashlib.sha256(asked.encode()).digest())
    drawn = mean * math.exp(chance.gauss(-0.125, 0.5))
    limit = int(str(body["max_tokens"]))
    return len(asked) // CHARACTERS_PER_TOKEN, max(1, min(limit, round(drawn)))


def shortest_s(load: Load, requests: Sequence[tuple[int, int]], in_flight: int) -> float:
    """Return the time of a set of requests when as many as ``in_flight`` are always there.

    Args:
        load: The server.
        requests: Numbers of prompt and answer tokens, in order.
        in_flight: Requests open at once; the rest waits outside.
    """
    waiting = deque(requests)
    active: list[int] = []
    passed = 0.0
    while waiting or active:
        taken = 0
        while waiting and len(active) < min(load.slots, in_flight):
            prompt, answer = waiting.popleft()
            taken += prompt
            active.append(answer)
        passed += load.step_s(len(active), taken)
        active = [left - 1 for left in active if left > 1]
    return passed


class Server:
    """Decodes in real time what comes in."""

    def __init__(self, load: Load, mean: float) -> None:
        self._load, self._mean = load, mean
        self._waiting: deque[Stream] = deque()
        self._active: list[Stream] = []
        self._wake = asyncio.Event()
        self.first_request_unix_s: float | None = None
        self.most_open = self._open = 0

    async def decode(self) -> None:
        """Take step after step, for ever; late steps are made up for."""
        due = time.perf_counter()
        while True:
            if not (self._waiting or self._active):
                self._wake.clear()
                await self._wake.wait()
                due = time.perf_counter()
            taken = 0
            while self._waiting and len(self._active) < self._load.slots:
                sequence = self._waiting.popleft()
                taken += sequence.prompt_tokens
                self._active.append(sequence)
            due += self._load.step_s(len(self._active), taken)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            still = []
            for sequence in self._active:
                sequence.left -= 1
                if sequence.left > 0:
                    still.append(sequence)
                elif sequence.done is not None:
                    sequence.done.set()
            self._active = still

    async def answer(self, body: dict[str, object]) -> dict[str, object]:
        """Answer one chat request when its tokens are decoded."""
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        self.first_request_unix_s = self.first_request_unix_s or time.time()
        prompt, answer = lengths(body, self._mean)
        sequence = Stream(prompt_tokens=prompt, left=answer, done=asyncio.Event())
        self._waiting.append(sequence)
        self._wake.set()
        assert sequence.done is not None
        await sequence.done.wait()
        self._open -= 1
        text = PIECE * answer
        return {
            "choices": [
                {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": answer},
        }


async def serve(socket: Path, load: Load, mean: float) -> None:
    """Serve until the process is ended."""
    from aiohttp import web

    server = Server(load, mean)

    async def chat(request: web.Request) -> web.Response:
        return web.json_response(await server.answer(await request.json()))

    async def facts(request: web.Request) -> web.Response:
        return web.json_response(
            {"first_request_unix_s": server.first_request_unix_s, "most_open": server.most_open}
        )

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/health", health)
    app.router.add_get("/facts", facts)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    print("ready", flush=True)
    await server.decode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve like vLLM under load.")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--mean", type=float, required=True, help="tokens of an answer")
    options = parser.parse_args()
    asyncio.run(serve(options.socket, Load(slots=options.slots), options.mean))


if __name__ == "__main__":
    main()
