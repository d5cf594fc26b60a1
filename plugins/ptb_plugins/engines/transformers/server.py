"""The server process: ``python -m ptb_plugins.engines.transformers.server --config FILE``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from ptb_plugins.engines.faults import exit_status
from ptb_plugins.engines.transformers.config import ServerConfig


def main() -> int:
    """Load the model, then serve until a signal comes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file: ServerConfig")
    config = msgspec.json.decode(parser.parse_args().config.read_bytes(), type=ServerConfig)
    return exit_status(lambda: asyncio.run(_serve(config)))


async def _serve(config: ServerConfig) -> None:
    import torch
    from aiohttp import web

    from ptb_plugins.engines.transformers.app import Service
    from ptb_plugins.engines.transformers.loading import load

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    template = Path(config.chat_template).read_text("utf-8")
    service = Service(config, load(config), template)
    worker = asyncio.create_task(service.batcher.work())
    runner = web.AppRunner(service.application(), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, config.socket).start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    worker.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
