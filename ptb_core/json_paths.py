"""Where a value stands in a JSON document, and how it is shown to a reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from ptb_core.specs import JsonValue

JsonPath: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the root to a value."""

ROOT = "$"
_SHOWN_CHARACTERS = 60
_TYPE_WORDS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w.-]*\Z")


def path_of(path: JsonPath) -> str:
    """Return a path in words, such as ``$.agents[0].scaffold``."""
    return ROOT + "".join(_step(step) for step in path)


def shown(value: JsonValue) -> str:
    """Return a value as JSON, cut to what fits into a message."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 3] + "..."


def type_words(name: str) -> str:
    """Return a JSON type in words, such as ``an integer``."""
    return _TYPE_WORDS.get(name, name)


def children(value: JsonValue) -> Iterator[tuple[str | int, JsonValue]]:
    """Yield the keys or indices of an object or array with their values; none for others."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from enumerate(value)


def position(data: JsonValue, path: JsonPath) -> tuple[int, ...]:
    """Return a key that sorts paths in document order; absent keys come after present ones."""
    found: list[int] = []
    for step in path:
        keys = [key for key, _ in children(data)]
        found.append(keys.index(step) if step in keys else len(keys))
        data = dict(children(data)).get(step)
    return tuple(found)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN_KEY.match(step) else f"[{json.dumps(step, ensure_ascii=False)}]"
