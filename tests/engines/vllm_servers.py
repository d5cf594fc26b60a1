"""Sessions and settings for vLLM: the real one, or a stand-in that misbehaves on demand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_servers import Serving, serve_request, serve_session

from ptb_core.api import EngineSpec, data_dir, load_manifest
from ptb_plugins.engines.vllm.engine import VllmEngine

PYTHON_VARIABLE = "PTB_TEST_VLLM_PYTHON"


def vllm_engine() -> VllmEngine:
    return VllmEngine(load_manifest(data_dir() / "registry" / "engines" / "vllm.json", EngineSpec))


def real_settings() -> dict[str, Any]:
    """Return settings for the installed vLLM; skips where the environment names none."""
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        pytest.skip(f"{PYTHON_VARIABLE} names no interpreter that has vLLM")
    return {
        "python": python,
        "gpu_memory_utilization": 0.3,
        "cpu_kv_cache_gib": 1,
        "enforce_eager": True,
        "max_num_seqs": 16,
        "startup_timeout_s": 300,
    }


@contextmanager
def vllm_serving(
    root: Path, model: Path, settings: Mapping[str, Any], **changes: Any
) -> Iterator[Serving]:
    engine = vllm_engine()
    with serve_session(root, model, engine.host_folders(settings)) as session:
        request = serve_request(session, settings=settings, **changes)
        yield Serving(engine.serve(request, session), session)
