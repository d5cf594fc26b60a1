"""Built-in engines: what serves a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable

from ptb_core.api import Engine, EngineSpec, data_dir, hookimpl, load_manifest
from ptb_plugins.engines.transformers.engine import TransformersEngine
from ptb_plugins.engines.vllm.engine import VllmEngine


@hookimpl
def ptb_register_engines() -> Iterable[Engine]:
    """Return the engines described under ``registry/engines``."""
    folder = data_dir() / "registry" / "engines"
    return [
        TransformersEngine(load_manifest(folder / "transformers.json", EngineSpec)),
        VllmEngine(load_manifest(folder / "vllm.json", EngineSpec)),
    ]
