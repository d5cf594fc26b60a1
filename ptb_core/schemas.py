"""JSON files of users and plugins: read strictly, checked against a schema, all faults at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.data import data_dir
from ptb_core.errors import Fault, InputFileError, UsageError
from ptb_core.json_paths import ROOT, JsonPath, children, path_of, position, shown
from ptb_core.specs import JsonValue

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_INTEGER_DIGITS = 19
"""Digits of the largest integer that every reader of JSON can hold, 2**63 - 1."""

_BOM = b"\xef\xbb\xbf"


def check(data: JsonValue, schema_name: str, file: str | Path) -> None:
    """Check data against a schema.

    Args:
        data: Parsed JSON.
        schema_name: Stem of a file in ``schemas/``, such as ``task`` or ``plan``.
        file: The file as the user named it, for the message.

    Raises:
        InputFileError: If there is any fault; it lists all of them in document order.
    """
    found = faults(data, schema_name)
    if found:
        raise InputFileError(str(file), found)


def faults(data: JsonValue, schema_name: str) -> tuple[Fault, ...]:
    """Return everything in which data breaks a schema, in document order."""
    from ptb_core.schema_faults import faults_of

    errors = _validator(schema_name).iter_errors(data)
    pairs = [pair for error in errors for pair in faults_of(error)]
    pairs.sort(key=lambda pair: position(data, pair[0]))
    return tuple(dict.fromkeys(fault for _, fault in pairs))


def load_json(path: Path) -> JsonValue:
    """Read a JSON file strictly.

    Raises:
        UsageError: If there is no such file, or it cannot be read.
        InputFileError: If it is no UTF-8, no JSON, or a key occurs twice in one object.
    """
    return _parse(_decoded(_content(path), path), path)


def schema_path(schema_name: str) -> Path:
    """Return the path of a schema file."""
    return data_dir() / "schemas" / f"{schema_name}.schema.json"


@cache
def _validator(schema_name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    schema = json.loads(schema_path(schema_name).read_text("utf-8"))
    # 2.0 is an integer to JSON Schema and none to what reads the value afterwards.
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    strict = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    validator: Draft202012Validator = strict(schema)
    return validator


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path}: found a folder; expected a JSON file") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _decoded(content: bytes, path: Path) -> str:
    if content.startswith(_BOM):
        raise _broken(path, "a byte order mark", "UTF-8 without one: save the file anew")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} in line {line}, which is no UTF-8"
        raise _broken(path, found, "a file in UTF-8: save it in that encoding") from error


def _parse(text: str, path: Path) -> JsonValue:
    repeated: list[tuple[dict[str, JsonValue], str]] = []

    def build(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        built: dict[str, JsonValue] = {}
        for key, value in pairs:
            if key in built:
                repeated.append((built, key))
            built[key] = value
        return built

    try:
        data = json.loads(
            text,
            object_pairs_hook=build,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        found = f"no JSON at {where}: {error.msg}{_line_at(text, error.lineno)}"
        raise _broken(path, found, _json_hint(text, error.pos)) from error
    except RecursionError as error:
        raise _broken(path, "values nested too deeply", "fewer levels of nesting") from error
    except ValueError as error:
        raise _broken(path, str(error), "JSON numbers of a usual size") from error
    if repeated:
        raise InputFileError(str(path), tuple(_repetitions(data, repeated)))
    return data


def _refuse_constant(name: str) -> JsonValue:
    raise ValueError(f"the number {name}, which JSON does not have")


def _integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS + 1 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"the number {_cut(text)}, which is too large")
    return int(text)


def _number(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(f"the number {_cut(text)}, which is too large")
    return float(text)


def _cut(number: str) -> str:
    return number if len(number) <= 24 else f"{number[:20]}..."


def _line_at(text: str, line_number: int) -> str:
    lines = text.splitlines()
    line = lines[line_number - 1].strip() if line_number <= len(lines) else ""
    return f" ({shown(line)})" if line else ""


def _json_hint(text: str, at: int) -> str:
    before, here = text[:at].rstrip(), text[at : at + 2]
    if not text.strip():
        return "a JSON object; the file is empty"
    if here[:1] in ("}", "]") and before.endswith(","):
        return "no comma after the last value"
    if here[:1] == "'":
        return 'texts in double quotes "'
    if here in ("//", "/*") or here[:1] == "#":
        return "no comments: JSON has none"
    return "valid JSON"


def _broken(path: Path, found: str, expected: str) -> InputFileError:
    return InputFileError(str(path), (Fault(path=ROOT, found=found, expected=expected),))


def _repetitions(
    data: JsonValue, repeated: list[tuple[dict[str, JsonValue], str]]
) -> Iterator[Fault]:
    paths = {id(value): path for path, value in _objects(data, ())}
    for holder, key in repeated:
        path = path_of((*paths[id(holder)], key)) if id(holder) in paths else ROOT
        yield Fault(path=path, found=f"the key {key!r} more than once", expected="each key once")


def _objects(data: JsonValue, path: JsonPath) -> Iterator[tuple[JsonPath, JsonValue]]:
    if isinstance(data, Mapping):
        yield path, data
    for key, value in children(data):
        yield from _objects(value, (*path, key))
