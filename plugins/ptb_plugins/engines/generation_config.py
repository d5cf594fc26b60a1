"""A checkpoint's generation_config.json: the same rules for all engines.

Needs nothing but Python: it runs where engines run.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptb_plugins.engines.faults import CheckpointFault


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """Values for requests that set none.

    Source: vLLM's use of generation_config.json: ``do_sample`` is not looked at, absent values
    mean temperature 1 over the whole vocabulary, and ``max_new_tokens`` caps every answer.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int | None = None


def read_generation_config(folder: str | None) -> dict[str, Any]:
    """Return the content of a folder's generation_config.json.

    Without that file, the end tokens that config.json declares are all of it; without either it
    is empty. Source: vLLM and transformers, which fall back to config.json.

    Raises:
        CheckpointFault: If the file is no JSON object.
    """
    if folder is None:
        return {}
    if (Path(folder) / "generation_config.json").is_file():
        return read_object(Path(folder) / "generation_config.json")
    if not (Path(folder) / "config.json").is_file():
        return {}
    config = read_object(Path(folder) / "config.json")
    inner = config.get("text_config")
    end = config.get("eos_token_id")
    if end is None and isinstance(inner, dict):
        end = inner.get("eos_token_id")
    return {} if end is None else {"eos_token_id": end}


def generation_defaults(settings: dict[str, Any]) -> GenerationDefaults:
    """Return sampling defaults from the content of a generation_config.json.

    Raises:
        CheckpointFault: If a value is out of its range.
    """
    faults = [
        f"{name} is {settings[name]!r}, expected {expected}"
        for name, (expected, is_valid) in _RANGES.items()
        if settings.get(name) is not None and not is_valid(settings[name])
    ]
    if faults:
        raise CheckpointFault("generation_config.json: " + "; ".join(faults))
    values = {name: settings[name] for name in _RANGES if settings.get(name) is not None}
    if "top_k" in values:
        values["top_k"] = max(0, values["top_k"])
    return GenerationDefaults(**values)


def declared_end_ids(settings: dict[str, Any]) -> list[int]:
    """Return the end tokens that the content of a generation_config.json declares."""
    declared: Any = settings.get("eos_token_id")
    values = declared if isinstance(declared, list) else [declared]
    return [value for value in values if _is_integer(value)]


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        CheckpointFault: If it holds none.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointFault(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointFault(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_RANGES: dict[str, tuple[str, Any]] = {
    "temperature": ("a number of at least 0", lambda v: _is_number(v) and v >= 0),
    "top_p": ("a number in (0, 1]", lambda v: _is_number(v) and 0 < v <= 1),
    "top_k": ("an integer of at least -1", lambda v: _is_integer(v) and v >= -1),
    "min_p": ("a number in [0, 1]", lambda v: _is_number(v) and 0 <= v <= 1),
    "repetition_penalty": ("a number above 0", lambda v: _is_number(v) and v > 0),
    "max_new_tokens": ("an integer of at least 1", lambda v: _is_integer(v) and v >= 1),
}
