"""Servers around the tiny model, and how to ask them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from tiny_models import CONTEXT_TOKENS

from ptb_core.api import (
    Endpoint,
    FileSource,
    ModelSpec,
    Mount,
    SandboxRequest,
    ServeRequest,
    Session,
)
from ptb_plugins.engines.transformers.engine import TransformersEngine
from ptb_plugins.sandboxes import ptb_register_sandboxes

MODEL = ModelSpec(
    name="tiny-sums",
    title="Tiny",
    description="Adds small numbers.",
    source=FileSource(packaged="nowhere"),
    family="qwen",
    chat_template="template.jinja",
    turn_end_tokens=("<|im_end|>",),
    architectures=("Qwen3ForCausalLM",),
    parameters=100_000,
    context_tokens=CONTEXT_TOKENS,
    tool_parser="hermes",
)


@dataclass
class Serving:
    """A running server and its session."""

    endpoint: Endpoint
    session: Session


def serve_request(
    session: Session, template: str = "template.jinja", **changes: Any
) -> ServeRequest:
    model = session.inside("checkpoint")
    values: dict[str, Any] = {
        "checkpoint": model,
        "tokenizer": model,
        "generation_config": model,
        "chat_template": f"{model}/{template}",
        "model": MODEL,
        "max_context_tokens": CONTEXT_TOKENS,
        "settings": {"device": "cpu", "threads": 1, "batch_size": 4},
    }
    return ServeRequest(**{**values, **changes})


@contextmanager
def serve_session(root: Path, model: Path, more: Sequence[Path] = ()) -> Iterator[Session]:
    """Open the kind of session that core opens for an engine."""
    (sandbox,) = ptb_register_sandboxes()
    session = sandbox.open(
        SandboxRequest(
            name=f"serve-{secrets.token_hex(4)}",
            role="serve",
            root=root,
            mounts=(
                Mount(name="checkpoint", source=model),
                *(Mount(name=f"more-{place}", source=path) for place, path in enumerate(more)),
            ),
        )
    )
    try:
        yield session
    finally:
        session.close()


@contextmanager
def serving(
    engine: TransformersEngine, root: Path, model: Path, **changes: Any
) -> Iterator[Serving]:
    with serve_session(root, model) as session:
        yield Serving(engine.serve(serve_request(session, **changes), session), session)


def http_post(socket: Path, route: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    async def post() -> tuple[int, dict[str, Any]]:
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"http://engine{route}", json=dict(body)) as response,
        ):
            return response.status, await response.json()

    return asyncio.run(post())
