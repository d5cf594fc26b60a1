"""JSON of our dataclasses; paths are written as strings."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from ptb_core.specs import JsonValue

ValueT = TypeVar("ValueT")


def to_builtins(value: object, root: Path | None = None) -> JsonValue:
    """Return a dataclass as what JSON can hold.

    Args:
        value: The dataclass.
        root: A run folder: paths in it are written relative to it, so that it can be moved,
            copied and mounted elsewhere.
    """

    def encode(item: object) -> str:
        return _encode_path(item, root)

    return msgspec.to_builtins(value, enc_hook=encode)


def from_json(
    content: bytes | msgspec.Raw, value_type: type[ValueT], root: Path | None = None
) -> ValueT:
    """Read JSON into a dataclass.

    Args:
        content: The JSON.
        value_type: The dataclass.
        root: The run folder that relative paths start from.

    Raises:
        msgspec.DecodeError: If it is no JSON, or a value has another type.
    """

    def decode(wanted: type, item: object) -> object:
        return _decode_path(wanted, item, root)

    return msgspec.json.decode(content, type=value_type, dec_hook=decode)


def encodable(value: JsonValue) -> JsonValue:
    r"""Return a value with text that is no valid Unicode spelt out as ``\udcff``.

    File names that an agent made up may hold stray surrogates, which JSON cannot carry; nothing an
    agent does may prevent what is written about it.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(item) for item in value]
    return value


def _encode_path(value: object, root: Path | None) -> str:
    if isinstance(value, Path):
        inside = root is not None and value.is_relative_to(root)
        return str(value.relative_to(root) if inside and root is not None else value)
    raise NotImplementedError(f"{type(value).__name__} cannot be written as JSON")


def _decode_path(wanted: type, value: object, root: Path | None) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value) if root is None else root / value
    raise NotImplementedError(f"{wanted.__name__} cannot be read from JSON")
