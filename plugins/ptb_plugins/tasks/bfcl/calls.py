"""Reading a tool call as the published client reads it, and showing it to readers.

Source: docs/protocol.md, "bfcl"; golden rows of bfcl, field ``parsed_calls``.
"""

from __future__ import annotations

import ast
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptb_core.api import DataError, ToolCall
from ptb_plugins.tasks.bfcl.bare_values import UnreadableValueError, read_bare_value

DEEPEST_JSON = 500
"""Deepest nesting of brackets that is read as JSON, well within what Python's parser takes."""

SHOWN_CHARACTERS = 500
"""Longest text that shows a call."""

_BRACKET = re.compile(r"[\[\]{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCall:
    """A tool call, its arguments read.

    Attributes:
        name: Name of the function; empty when the server sent none.
        arguments: Values by name; empty when they could not be read.
        is_broken: True when the arguments are an object that is no JSON, or cannot be read.
        is_bare: True when they are a bare value, bound to the tool's first parameter.
        raises: True when the published client dies of them.
    """

    name: str
    arguments: Mapping[str, Any]
    is_broken: bool = False
    is_bare: bool = False
    raises: bool = False


def read_call(call: ToolCall, parameters: Mapping[str, str]) -> ReadCall:
    """Return a tool call with its arguments read; never raises.

    Text that starts with ``{`` is JSON: the last of equal keys counts, and what is broken gives
    no arguments at all. Any other text is a bare value, of the first parameter.

    Args:
        call: What the server sent.
        parameters: First parameter of each tool that was offered, by the tool's name.
    """
    name, text = call.name or "", (call.arguments or "").strip()
    if text.startswith("{"):
        return _read_object(name, text)
    first = parameters.get(name)
    if first is None:
        return ReadCall(name=name, arguments={}, is_bare=True)
    try:
        return ReadCall(name=name, arguments={first: read_bare_value(text).value}, is_bare=True)
    except UnreadableValueError as error:
        return ReadCall(name=name, arguments={}, is_broken=True, is_bare=True, raises=error.raises)


def read_target(source: str, where: str) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of the right call, which is written in Python.

    Tuples become lists, as in JSON.

    Args:
        source: A call with literal keyword arguments, such as ``f(a=1, b=[2, 3])``.
        where: What the record is called in errors.

    Raises:
        DataError: If it is anything else.
    """
    try:
        match ast.parse(source, mode="eval").body:
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
                pairs = {word.arg: ast.literal_eval(word.value) for word in keywords}
                if None not in pairs:
                    return name, json.loads(json.dumps(pairs))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise DataError(
        f"{where}: the right answer {source[:80]!r} is no call of a function with literal keyword "
        "arguments"
    )


def show_call(call: ReadCall) -> str:
    """Return a call as Python would write it, shortened, for readers."""
    shown = ", ".join(
        f"{_plain(name)}={_SHOWN.repr(value)}" for name, value in list(call.arguments.items())[:30]
    )
    text = f"{_plain(call.name)}({shown})"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _read_object(name: str, text: str) -> ReadCall:
    broken = ReadCall(name=name, arguments={}, is_broken=True)
    if _depth(text) > DEEPEST_JSON:
        return broken
    try:
        return ReadCall(name=name, arguments=json.loads(text))
    except json.JSONDecodeError:
        return broken
    except ValueError:
        # An integer of more digits than Python converts.
        return ReadCall(name=name, arguments={}, is_broken=True, raises=True)
    except RecursionError:
        return broken


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _plain(name: str) -> str:
    return name if name.isidentifier() and len(name) <= 100 else _SHOWN.repr(name)


class _Shown(reprlib.Repr):
    """Shortens long and deep values, and survives numbers that Python does not print."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 6, 200, 60, 60
        self.maxlist = self.maxdict = self.maxtuple = self.maxset = 40

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if abs(x) < 10**300 else "<an enormous number>"


_SHOWN = _Shown()
