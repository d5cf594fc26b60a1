"""Many workers and one heart that tells how far they are."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

HEARTBEAT_S = 1.0
"""Longest time between two calls of a ``progress``."""


async def work_with_heart(
    workers: Iterable[Coroutine[Any, Any, None]], heart: Coroutine[Any, Any, None]
) -> None:
    """Return when all workers have ended, or the heart has; what is left is cancelled.

    What a worker or the heart raises ends the rest and gets out.
    """
    tasks = [asyncio.create_task(worker) for worker in workers]
    beating = asyncio.create_task(heart)
    working = asyncio.gather(*tasks)
    watched: set[asyncio.Future[Any]] = {beating, working}
    try:
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
    finally:
        for task in (beating, *tasks):
            task.cancel()
        await asyncio.gather(beating, working, *tasks, return_exceptions=True)
