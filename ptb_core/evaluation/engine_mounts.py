"""What an engine needs to see of this machine besides checkpoint, tokenizer and template."""

from __future__ import annotations

from collections.abc import Mapping

from ptb_core.interfaces import Engine
from ptb_core.sandboxing import Mount
from ptb_core.specs import JsonValue


def engine_mounts(
    engine: Engine, settings: Mapping[str, JsonValue], image: str | None
) -> tuple[Mount, ...]:
    """Return the folders of this machine that the engine's server reads, as mounts.

    Args:
        engine: The engine.
        settings: The plan's settings of it.
        image: Image that the server runs in, which then holds all it needs; None for none.
    """
    folders = engine.host_folders(settings) if image is None else ()
    return tuple(
        Mount(name=f"engine_{place}", source=folder) for place, folder in enumerate(folders)
    )
