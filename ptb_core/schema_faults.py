"""What is wrong with a JSON value, in words: one fault per mistake, from jsonschema's errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ptb_core.errors import Fault
from ptb_core.json_paths import JsonPath, path_of, shown, type_words
from ptb_core.specs import JsonValue
from ptb_core.suggest import did_you_mean

if TYPE_CHECKING:
    from jsonschema import ValidationError

Located: TypeAlias = tuple[JsonPath, Fault]
"""A fault with its path in parts, for sorting."""

_PATTERN_WORDS = {
    "^(measured|published|.+[.]json)$": "measured, published, or NAME.json",
    "^[a-z0-9]+(?:[.-][a-z0-9]+)*$": (
        "lower-case letters and digits, in words joined by '-' or '.', such as 'my-task'"
    ),
    "^[0-9a-f]{64}$": "a sha256 of 64 lower-case hex digits",
    "^[0-9a-f]{40}$": "a commit of 40 lower-case hex digits",
    "^https://": "an address that begins with https://",
    "^[^\\r\\n]+$": "one line of text",
    "^[a-z][a-z0-9_]*$": "lower-case letters, digits and '_', such as 'batch_size'",
    "^[A-Za-z0-9][\\w.-]*/[A-Za-z0-9][\\w.-]*$": "an owner and a name with '/' between",
    "^[A-Za-z0-9][\\w.-]*==[\\w.+!]+$": "a name and a version, such as 'gguf==0.17.1'",
    "^[A-Za-z_]\\w*(?:\\.[A-Za-z_]\\w*)*$": "a dotted module name, such as 'package.module'",
    "^[A-Za-z_]\\w*$": "a Python name",
    "^[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?$": "a date such as '2026-11' or '2026-11-24'",
    "^[0-9a-f]{10,64}$": "10 to 64 lower-case hex digits",
}

_WRONG_FORM = {"type", "enum", "const"}
"""Keywords whose failure at the top of a branch says that another branch was meant."""


def faults_of(error: ValidationError) -> Iterator[Located]:
    """Yield the faults behind one validation error, each with its path."""
    keyword = str(error.validator)
    path = tuple(error.absolute_path)
    if keyword in ("anyOf", "oneOf"):
        yield from _branch_faults(error, path)
    elif keyword == "required":
        yield from _missing(error, path)
    elif keyword == "additionalProperties" and error.validator_value is False:
        yield from _unknown(error, path)
    elif keyword == "pattern" and not error.instance and _mapping(error.schema).get("minLength"):
        return  # an empty text is one fault, which minLength tells
    elif "propertyNames" in error.relative_schema_path:
        yield _fault((*path, str(error.instance)), f"the key {error.instance!r}", _expected(error))
    else:
        yield _fault(path, _found(error), _expected(error))


def _fault(path: JsonPath, found: str, expected: str) -> Located:
    return path, Fault(path=path_of(path), found=found, expected=expected)


# Objects: missing and unknown keys ------------------------------------------------------------


def _missing(error: ValidationError, path: JsonPath) -> Iterator[Located]:
    # jsonschema yields one error per missing key; its message is the only thing that names it.
    for key in _list(error.validator_value):
        if key not in _mapping(error.instance) and error.message.startswith(repr(key)):
            properties = _mapping(error.schema).get("properties", {})
            wanted = _mapping(properties.get(key))
            yield _fault((*path, key), "nothing", _described(_form_of(wanted), wanted))


def _form_of(schema: Mapping[str, JsonValue]) -> str:
    for keyword in ("enum", "type"):
        if keyword in schema:
            return _WORDS[keyword](schema[keyword], None)
    return "a value"


def _unknown(error: ValidationError, path: JsonPath) -> Iterator[Located]:
    schema = _mapping(error.schema)
    known = list(schema.get("properties", {}))
    patterns = list(schema.get("patternProperties", {}))
    names = ", ".join(key for key in known if not key.startswith("$")) or "no keys at all"
    for key in _mapping(error.instance):
        if key in known or any(re.search(pattern, key) for pattern in patterns):
            continue
        expected = f"one of {names}{did_you_mean(key, known)}"
        yield _fault((*path, key), f"unknown key {key!r}", expected)


# Alternatives ---------------------------------------------------------------------------------


def _branch_faults(error: ValidationError, path: JsonPath) -> Iterator[Located]:
    branches = _branches(error.context or ())
    if not branches:
        words = _described("exactly one of the allowed forms", _mapping(error.schema))
        yield _fault(path, f"{shown(error.instance)}, which fits more than one form", words)
        return
    meant = [errors for errors in branches.values() if not _is_other_form(errors)]
    if meant:
        for inner in min(meant, key=len):
            yield from faults_of(inner)
        return
    tops = [inner for errors in branches.values() for inner in errors if not inner.relative_path]
    words = " or ".join(dict.fromkeys(_form_words(inner) for inner in tops))
    yield _fault(path, _typed(error.instance), _described(words, _mapping(error.schema)))


def _branches(context: Iterable[ValidationError]) -> dict[int, list[ValidationError]]:
    branches: dict[int, list[ValidationError]] = {}
    for inner in context:
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    return branches


def _is_other_form(errors: list[ValidationError]) -> bool:
    return any(not inner.relative_path and inner.validator in _WRONG_FORM for inner in errors)


def _form_words(error: ValidationError) -> str:
    words = _WORDS.get(str(error.validator))
    return words(error.validator_value, error.instance) if words else "another value"


# One value ------------------------------------------------------------------------------------


def _found(error: ValidationError) -> str:
    if error.validator == "type":
        return _typed(error.instance)
    if error.validator == "uniqueItems":
        return f"{shown(_first_repeated(_list(error.instance)))} more than once"
    if error.validator == "maxLength":
        return f"{len(str(error.instance))} characters: {shown(error.instance)}"
    return shown(error.instance)


def _expected(error: ValidationError) -> str:
    words = _WORDS.get(str(error.validator))
    schema = _mapping(error.schema)
    if words is not None:
        return _described(words(error.validator_value, error.instance), schema)
    if error.validator is None:
        return "nothing here"
    rule = f"a value that keeps {error.validator!r}: {shown(error.validator_value)}"
    return _described(rule, schema)


def _typed(value: JsonValue) -> str:
    names = {bool: "a boolean", str: "a string", int: "an integer", float: "a number"}
    names |= {list: "an array", tuple: "an array", dict: "an object"}
    kind = names.get(type(value))
    return f"{shown(value)} ({kind})" if kind else shown(value)


def _described(words: str, schema: Mapping[str, JsonValue]) -> str:
    description = schema.get("description")
    if not isinstance(description, str):
        return words
    return f"{words}: {description if description.endswith('...') else description.rstrip('.')}"


def _mapping(schema: JsonValue) -> Mapping[str, JsonValue]:
    return schema if isinstance(schema, Mapping) else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _first_repeated(items: list[JsonValue]) -> JsonValue:
    for index, item in enumerate(items):
        if item in items[:index]:
            return item
    return items


def _type_words(value: JsonValue, _: JsonValue) -> str:
    names = [value] if isinstance(value, str) else value
    return " or ".join(type_words(name) for name in names)


def _enum_words(value: JsonValue, instance: JsonValue) -> str:
    choices = [item for item in value if isinstance(item, str)]
    hint = did_you_mean(instance, choices) if isinstance(instance, str) else ""
    return f"one of {', '.join(shown(item) for item in value)}{hint}"


def _pattern_words(value: JsonValue, _: JsonValue) -> str:
    return _PATTERN_WORDS.get(value, f"text of the form {value}")


def _counted(limit: str, unit: str, units: str) -> Callable[[JsonValue, JsonValue], str]:
    def words(value: JsonValue, _: JsonValue) -> str:
        return f"{limit} {value} {unit if value == 1 else units}"

    return words


def _bound(limit: str) -> Callable[[JsonValue, JsonValue], str]:
    def words(value: JsonValue, _: JsonValue) -> str:
        return f"a number {limit} {value}"

    return words


_WORDS: Mapping[str, Callable[[JsonValue, JsonValue], str]] = {
    "type": _type_words,
    "enum": _enum_words,
    "const": lambda value, _: shown(value),
    "pattern": _pattern_words,
    "minimum": _bound("of at least"),
    "maximum": _bound("of at most"),
    "exclusiveMinimum": _bound("above"),
    "exclusiveMaximum": _bound("below"),
    "multipleOf": _bound("that is a multiple of"),
    "minLength": _counted("at least", "character", "characters"),
    "maxLength": _counted("at most", "character", "characters"),
    "minItems": _counted("at least", "item", "items"),
    "maxItems": _counted("at most", "item", "items"),
    "minProperties": _counted("at least", "key", "keys"),
    "maxProperties": _counted("at most", "key", "keys"),
    "uniqueItems": lambda _, __: "each item once",
}
"""Keyword of a schema to words for what it expects, from its value and the instance."""
