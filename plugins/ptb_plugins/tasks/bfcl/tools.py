"""The tool that a BFCL record describes: as a model is offered it, and what scoring asks of it.

Source: docs/protocol.md, "bfcl"; golden digests of requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ptb_core.api import DataError, JsonValue

_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_KNOWN_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_KEPT = ("description", "default", "enum", "additionalProperties")


def parameter_order(functions: Iterable[Mapping[str, JsonValue]]) -> dict[str, int]:
    """Return the place of each parameter's name among all names of the data set.

    Parameters are offered in the order in which their names first occur in the whole file, not
    in that of their record: the published data loader merges all records into one table. It
    decides what the first parameter of a tool is.
    """
    names: dict[str, int] = {}
    for function in functions:
        for name in function["parameters"]["properties"]:
            names.setdefault(name, len(names))
    return names


def openai_tool(
    function: Mapping[str, JsonValue], order: Mapping[str, int]
) -> Mapping[str, JsonValue]:
    """Return a record's function in the OpenAI form.

    Args:
        function: Name, description and parameters, as :func:`checked_function` returns them.
        order: Place of every parameter's name.
    """
    properties = function["parameters"]["properties"]
    return {
        "type": "function",
        "function": {
            "name": function["name"],
            "description": function["description"],
            "parameters": {
                "type": "object",
                "properties": {
                    name: _schema(properties[name])
                    for name in sorted(properties, key=order.__getitem__)
                },
                "required": _required(function),
                "additionalProperties": False,
            },
        },
    }


def default_arguments(function: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the default value of each optional parameter that has one.

    A default of null is none: the model is not told of it.
    """
    required = _required(function)
    return {
        name: parameter["default"]
        for name, parameter in function["parameters"]["properties"].items()
        if name not in required and parameter.get("default") is not None
    }


def checked_function(value: JsonValue, where: str) -> Mapping[str, JsonValue]:
    """Return a record's only function, its absent keys and null values dropped.

    Args:
        value: The record's column ``function``: one object, or a list of one.
        where: What the record is called in errors.

    Raises:
        DataError: If it is not one function with a name, a description and typed parameters.
    """
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(found, dict):
        raise DataError(f"{where}: 'function' must be one object or a list of one")
    function: dict[str, JsonValue] = _without_nulls(found)
    for key in ("name", "description"):
        if not isinstance(function.get(key), str):
            raise DataError(f"{where}: 'function' has no text {key!r}")
    parameters = function.get("parameters")
    if not isinstance(parameters, dict) or not isinstance(parameters.get("properties"), dict):
        raise DataError(f"{where}: 'function' has no 'parameters' with 'properties'")
    if not parameters["properties"]:
        raise DataError(f"{where}: 'function' has no parameter; expected one at least")
    for name, schema in parameters["properties"].items():
        _check_schema(schema, f"{where}: parameter {name!r}")
    return function


def _without_nulls(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _check_schema(schema: JsonValue, where: str) -> None:
    if not isinstance(schema, dict):
        raise DataError(f"{where} is described by {schema!r:.40}, expected an object")
    kind = schema.get("type")
    if not isinstance(kind, str) or _TYPES.get(kind, kind) not in _KNOWN_TYPES:
        known = ", ".join(sorted(_KNOWN_TYPES | set(_TYPES)))
        raise DataError(f"{where} has the type {kind!r:.40}; known types are {known}")
    if "items" in schema:
        _check_schema(schema["items"], f"{where}, items,")
    for name, inner in schema.get("properties", {}).items():
        _check_schema(inner, f"{where}, property {name!r},")


def _required(function: Mapping[str, JsonValue]) -> Sequence[str]:
    required: Sequence[str] = function["parameters"].get("required", [])
    return required


def _schema(schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    kept: dict[str, JsonValue] = {"type": _TYPES.get(schema["type"], schema["type"])}
    kept |= {key: schema[key] for key in _KEPT if key in schema}
    if "items" in schema:
        kept["items"] = _schema(schema["items"])
    if schema.get("properties"):
        kept["properties"] = {name: _schema(s) for name, s in schema["properties"].items()}
    if "required" in schema:
        kept["required"] = schema["required"]
    return kept
