"""A trained tiny model, and servers around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from engine_servers import Serving, http_post, serving
from exact_cases import lessons
from tiny_models import ADD, CALLS, Lesson, build_tiny_model, teach, write_generation_config
from vllm_servers import real_settings, vllm_serving

from ptb_core.api import EngineSpec, data_dir, load_manifest
from ptb_plugins.engines.transformers.engine import TransformersEngine

LONGEST_ANSWER = 120
TAUGHT_CONTEXT_TOKENS = 4096


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def engine() -> TransformersEngine:
    manifest = data_dir() / "registry" / "engines" / "transformers.json"
    return TransformersEngine(load_manifest(manifest, EngineSpec))


@pytest.fixture(scope="session")
def served(
    engine: TransformersEngine, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """One server that most tests share."""
    with serving(engine, tmp_path_factory.mktemp("serve"), tiny_model) as server:
        yield server


@pytest.fixture(scope="session")
def taught_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows by heart how to call a tool, and answers to the exact tasks."""
    calls = [
        Lesson(messages=[{"role": "user", "content": text}], tools=[ADD], answer=answer)
        for text, answer in CALLS.items()
    ]
    sums = [
        Lesson(
            messages=[{"role": "user", "content": f"What is {number} plus 4?"}],
            answer=f"It is {number + 4}.",
        )
        for number in range(9)
    ]
    learnt = [*calls, *sums, *lessons(tmp_path_factory.mktemp("lessons"))]
    folder = teach(tiny_model, tmp_path_factory.mktemp("taught") / "model", learnt)
    write_generation_config(folder, eos_token_id=0, max_new_tokens=LONGEST_ANSWER, top_k=1)
    return folder


@pytest.fixture(scope="session")
def vllm_served(taught_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The taught model on the real vLLM, under full precision."""
    settings = {**real_settings(), "dtype": "float32"}
    changes: dict[str, Any] = {
        "template_date": "2026-01-01",
        "max_context_tokens": TAUGHT_CONTEXT_TOKENS,
    }
    with vllm_serving(tmp_path_factory.mktemp("vllm"), taught_model, settings, **changes) as server:
        yield server


@pytest.fixture
def ask(served: Serving) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Post a body to the shared server, and return status and reply."""

    def post(route: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        return http_post(served.endpoint.socket, route, body)

    return post
