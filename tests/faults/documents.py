"""Documents made from this project's schemas, and documents broken in every way.

hypothesis-jsonschema reads drafts up to 7, ours are 2020-12; what our schemas use of it is little
enough to be generated here.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeAlias

from hypothesis import strategies as st

from ptb_core.schemas import schema_path

Document: TypeAlias = Any
Place: TypeAlias = tuple[str | int, ...]

WORDS = (
    "errands",
    "tiny-qwen3",
    "null",
    "a",
    "0",
    "a-b.c-1",
    "x" * 64,
    "max_cells",
    "A Name",
    "mine",
    "0" * 64,
    "0" * 40,
    "https://example.org/",
)
"""Texts that match most patterns of our schemas."""

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


@cache
def schema(name: str) -> dict[str, Any]:
    """Return a schema of this project."""
    content: dict[str, Any] = json.loads(schema_path(name).read_text("utf-8"))
    return content


# From a schema --------------------------------------------------------------------------------


def documents(name: str) -> st.SearchStrategy[Document]:
    """Documents that keep to a schema (patterns, lengths, bounds; hardly ever unique items)."""
    return _of(schema(name), schema(name))


def _of(part: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Document]:
    if "$ref" in part:
        return st.deferred(lambda: _of(root["$defs"][part["$ref"].rpartition("/")[2]], root))
    if "const" in part:
        return st.just(part["const"])
    if "enum" in part:
        return st.sampled_from(part["enum"])
    for keyword in ("anyOf", "oneOf"):
        if keyword in part:
            return st.one_of(*(_of(branch, root) for branch in part[keyword]))
    kinds = part.get("type", TYPES)
    return st.one_of(
        *(_KINDS[k](part, root) for k in ([kinds] if isinstance(kinds, str) else kinds))
    )


def _object(part: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Document]:
    required = part.get("required", ())
    known = {key: _of(value, root) for key, value in part.get("properties", {}).items()}
    fixed = st.fixed_dictionaries(
        {key: known[key] for key in required if key in known},
        optional={key: value for key, value in known.items() if key not in required},
    )
    more = part.get("additionalProperties", {})
    if more is True:
        more = {}
    if more is False:
        return fixed
    keys = _string(part.get("propertyNames", {"minLength": 1, "maxLength": 6}), root)
    extra = st.dictionaries(
        keys, _of(more, root), max_size=2, min_size=part.get("minProperties", 0)
    )
    return st.builds(lambda more, own: {**more, **own}, extra, fixed)


def _array(part: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Document]:
    least = part.get("minItems", 0)
    return st.lists(_of(part.get("items", {}), root), min_size=least, max_size=least + 2)


def _string(part: dict[str, Any], _: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in part:  # drawing from the expression itself takes most of a test's time
        known = [word for word in WORDS if re.search(part["pattern"], word)]
        return st.sampled_from(known) if known else st.from_regex(part["pattern"], fullmatch=True)
    least = part.get("minLength", 0)
    return st.text(min_size=least, max_size=min(part.get("maxLength", 8), least + 8))


def _number(part: dict[str, Any], _: dict[str, Any]) -> st.SearchStrategy[float]:
    least = part.get("minimum", part.get("exclusiveMinimum", -1e6))
    return st.floats(
        least,
        part.get("maximum", max(least, 0) + 1e6),
        exclude_min="exclusiveMinimum" in part,
    )


def _integer(part: dict[str, Any], _: dict[str, Any]) -> st.SearchStrategy[int]:
    least = int(part.get("minimum", part.get("exclusiveMinimum", -101) + 1))
    return st.integers(least, min(part.get("maximum", least + 10**6), least + 10**6))


_KINDS: dict[str, Callable[[dict[str, Any], dict[str, Any]], st.SearchStrategy[Document]]] = {
    "null": lambda _, __: st.none(),
    "boolean": lambda _, __: st.booleans(),
    "integer": _integer,
    "number": _number,
    "string": _string,
    "array": lambda part, root: _array(part, root) if "items" in part else st.just([]),
    "object": lambda part, root: _object(part, root) if len(part) > 1 else st.just({}),
}


# Broken ---------------------------------------------------------------------------------------

NESTED: Document = 0
for _level in range(40):
    NESTED = [NESTED] if _level % 2 else {"deeper": NESTED}

VALUES: tuple[Document, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    0.5,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    2**31,
    2**63,
    -(2**63) - 1,
    10**40,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "x",
    "x\ny\r\x1b[31m\0z",
    "\ud800",
    "ß🦆\u2028\u202e",
    "(",
    "x" * 5000,
    "<class 'object'>",
    "NaN",
    [],
    [[]],
    [None],
    {},
    {"": None},
    {"x\ny": "(", "\ud800": 1},
    NESTED,
)
"""Values that some check might not expect."""


def places(document: Document, at: Place = ()) -> Iterator[Place]:
    """Yield the place of every value in a document, the root first."""
    yield at
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*at, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from places(value, (*at, index))


@st.composite
def broken_documents(draw: st.DrawFn, document: Document) -> Document:
    """Return the document with one to three changes of its structure."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        place = draw(st.sampled_from(list(places(changed))))
        change = draw(st.sampled_from(CHANGES))
        changed = _changed(changed, place, change, draw)
    return changed


CHANGES = ("replace", "replace", "replace", "delete", "rename", "add", "repeat", "wrap", "number")


def _changed(document: Document, place: Place, change: str, draw: st.DrawFn) -> Document:
    value = _at(document, place)
    if change == "add" and isinstance(value, dict):
        value[draw(st.sampled_from(("x", "names", "", "schema_version", "\n")))] = draw(_VALUE)
        return document
    if change == "repeat" and isinstance(value, list) and value:
        value.append(copy.deepcopy(value[0]))
        return document
    if change == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        factor = draw(st.sampled_from((-1, 2, 0.5, 1e6, 1.0000001)))
        return _put(document, place, value * factor)
    if change == "wrap":
        return _put(document, place, draw(st.sampled_from(([value], {"value": value}))))
    if change in ("delete", "rename") and place:
        holder = _at(document, place[:-1])
        taken = holder.pop(place[-1])
        if change == "rename" and isinstance(holder, dict):
            holder[f"{place[-1]}s"] = taken
        return document
    return _put(document, place, draw(_VALUE))


_VALUE = st.sampled_from(VALUES).map(copy.deepcopy)


def _at(document: Document, place: Place) -> Document:
    for step in place:
        document = document[step]
    return document


def _put(document: Document, place: Place, value: Document) -> Document:
    if not place:
        return value
    _at(document, place[:-1])[place[-1]] = value
    return document


@st.composite
def broken_files(draw: st.DrawFn, document: Document, *, bytes_too: bool = True) -> bytes:
    """Return the bytes of a file that holds the document, broken as value, as text or as bytes."""
    changed = draw(broken_documents(document)) if draw(st.integers(0, 3)) else document
    text = json.dumps(changed, indent=draw(st.sampled_from((None, 2))))
    content = text.encode()
    if not bytes_too or draw(st.integers(0, 2)):
        return content
    return draw(st.sampled_from(DISTORTIONS))(content, draw(st.integers(0, max(1, len(content)))))


def _flip(content: bytes, at: int) -> bytes:
    at = min(at, len(content) - 1)
    return content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]


def _number_at(content: bytes, at: int, number: bytes) -> bytes:
    """Replace the first number after a place; JSON knows more of them than Python can hold."""
    found = re.compile(rb"(?<=[: \[,])-?\d[\d.eE+-]*").search(content, at)
    return content if found is None else content[: found.start()] + number + content[found.end() :]


DISTORTIONS: tuple[Callable[[bytes, int], bytes], ...] = (
    lambda content, at: content[:at],
    lambda content, at: content[:at],
    lambda content, at: content[at:],
    _flip,
    _flip,
    lambda content, at: content[:at] + b"\0" + content[at:],
    lambda content, at: content[:at] + b"\xff\xfe" + content[at:],
    lambda content, at: content[:at] + b"\0" * (len(content) - at),
    lambda content, _: b"\xef\xbb\xbf" + content,
    lambda content, _: content.decode().encode("utf-16"),
    lambda content, _: content + content,
    lambda content, _: content.rstrip(b"}]") + b",}",
    lambda content, _: content.replace(b"{", b'{"name": "twice", ', 1),
    lambda content, _: b"// a comment\n" + content,
    lambda content, _: content.replace(b'"', b"'"),
    lambda content, at: _number_at(content, at, b"1e999"),
    lambda content, at: _number_at(content, at, b"-0"),
    lambda content, at: _number_at(content, at, b"01"),
    lambda content, at: _number_at(content, at, b"9" * 400),
    lambda content, at: _number_at(content, at, b"9" * 5000),
    lambda content, _: b"[" * 100_000 + content,
    lambda _, __: b"",
)
"""Ways to break a file that no change of its values can show."""
