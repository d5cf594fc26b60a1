"""Print tokens per second of the engines: one request at a time, and many.

python benchmarks/engine_throughput.py [CHECKPOINT TEMPLATE] [--vllm-python PATH] [--requests N]

Without a checkpoint the shipped model is measured. Each row has a server of its own, warmed up
with as many requests as it takes at a time; answers are greedy and as long as allowed unless the
model ends them.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ptb_core.api import (
    ChatRequest,
    Endpoint,
    Engine,
    FileSource,
    JsonValue,
    ModelSpec,
    SandboxRequest,
    ServeRequest,
    Session,
    data_dir,
)
from ptb_core.evaluation.engine_mounts import engine_mounts
from ptb_core.evaluation.generate import GenerateOptions, GenerateSummary, SampleRequests, generate
from ptb_core.sandboxing import Mount
from ptb_plugins.engines import ptb_register_engines
from ptb_plugins.sandboxes import ptb_register_sandboxes

SHIPPED = data_dir() / "embedded" / "models"
BATCH_SIZES = (1, 4, 16, 64)
IN_FLIGHT = (1, 16, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server to measure.

    Attributes:
        engine: Name of the engine.
        settings: Its settings.
        at_a_time: Requests under way at once.
    """

    engine: str
    settings: Mapping[str, JsonValue]
    at_a_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a row came to."""

    start_s: float
    summary: GenerateSummary


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens per second by engine and batch.")
    parser.add_argument("checkpoint", type=Path, nargs="?", default=SHIPPED / "tiny-qwen3")
    parser.add_argument("template", type=Path, nargs="?", default=SHIPPED / "tiny-qwen3.jinja")
    parser.add_argument("--vllm-python", help="interpreter that has vLLM; none leaves vLLM out")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--context-tokens", type=int, default=512)
    parser.add_argument(
        "--threads", type=int, help="processor threads of transformers; all by default"
    )
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {options.checkpoint.name}, "
    )
    print(f"{options.requests} requests of at most {options.max_tokens} tokens\n")
    print("| engine | at a time | start s | tokens | seconds | tokens/s |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows(options):
        measured = measure(row, options)
        summary = measured.summary
        print(
            f"| {row.engine} | {row.at_a_time} | {measured.start_s:.1f} "
            f"| {summary.completion_tokens} | {summary.seconds:.2f} "
            f"| {summary.completion_tokens / summary.seconds:.0f} |",
            flush=True,
        )


def rows(options: argparse.Namespace) -> list[Row]:
    """Return what is measured, vLLM only where it was named."""
    plain = [
        Row(
            engine="transformers",
            settings={"batch_size": size, "threads": options.threads},
            at_a_time=size,
        )
        for size in BATCH_SIZES
    ]
    if options.vllm_python is None:
        return plain
    settings = {
        "python": options.vllm_python,
        "gpu_memory_utilization": 0.3,
        "cpu_kv_cache_gib": 1,
        "max_num_seqs": max(IN_FLIGHT),
        "enforce_eager": True,
    }
    return plain + [Row(engine="vllm", settings=settings, at_a_time=number) for number in IN_FLIGHT]


def measure(row: Row, options: argparse.Namespace) -> Measured:
    """Serve once, warm up, and generate greedily."""
    engine = {one.spec.name: one for one in ptb_register_engines()}[row.engine]
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(Path(folder), engine, row, options)
        try:
            began = time.monotonic()
            endpoint = engine.serve(serve_request(session, row, options), session)
            start_s = time.monotonic() - began
            endpoint = bounded(endpoint, row)
            asking = GenerateOptions(requests="seeded", max_tokens=options.max_tokens)
            logs = [Path(folder) / name for name in ("warm.jsonl", "log.jsonl")]
            generate(chats(row.at_a_time), endpoint, asking, logs[0])
            summary = generate(chats(options.requests), endpoint, asking, logs[1]).summary
            return Measured(start_s=start_s, summary=summary)
        finally:
            session.close()


def bounded(endpoint: Endpoint, row: Row) -> Endpoint:
    """Return the endpoint with the row's bound, where batches are the server's own."""
    if endpoint.batch_size is not None:
        return endpoint
    return replace(endpoint, max_in_flight=row.at_a_time)


def chats(count: int) -> list[SampleRequests]:
    return [
        SampleRequests(
            id=str(number),
            requests=(ChatRequest(messages=({"role": "user", "content": f"Item {number}?"},)),),
        )
        for number in range(count)
    ]


def open_session(folder: Path, engine: Engine, row: Row, options: argparse.Namespace) -> Session:
    (sandbox,) = ptb_register_sandboxes()
    return sandbox.open(
        SandboxRequest(
            name=f"throughput-{secrets.token_hex(4)}",
            role="serve",
            root=folder / "session",
            mounts=(
                Mount(name="checkpoint", source=options.checkpoint.resolve()),
                Mount(name="template", source=options.template.resolve()),
                *engine_mounts(engine, row.settings, None),
            ),
        )
    )


def serve_request(session: Session, row: Row, options: argparse.Namespace) -> ServeRequest:
    checkpoint = session.inside("checkpoint")
    return ServeRequest(
        checkpoint=checkpoint,
        tokenizer=checkpoint,
        generation_config=None,
        chat_template=session.inside("template"),
        model=ModelSpec(
            name="measured",
            title="Measured",
            description="-",
            source=FileSource(),
            family="-",
            chat_template="-",
            turn_end_tokens=(),
            architectures=(),
            parameters=0,
            context_tokens=options.context_tokens,
        ),
        max_context_tokens=options.context_tokens,
        settings=row.settings,
    )


if __name__ == "__main__":
    main()
