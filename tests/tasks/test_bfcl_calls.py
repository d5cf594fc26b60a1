from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import DataError, ToolCall
from ptb_plugins.tasks.bfcl.bare_values import (
    DEEPEST,
    LONGEST_CHARACTERS,
    UnreadableValueError,
    read_bare_value,
)
from ptb_plugins.tasks.bfcl.calls import (
    DEEPEST_JSON,
    SHOWN_CHARACTERS,
    ReadCall,
    read_call,
    read_target,
    show_call,
)

FIRST = {"f": "x"}


def read(arguments: str | None, name: str | None = "f") -> ReadCall:
    return read_call(ToolCall(name=name, arguments=arguments), FIRST)


def test_an_object_is_read_as_json() -> None:
    assert read(' {"a": [1, 2.0], "b": null}') == ReadCall(
        name="f", arguments={"a": [1, 2.0], "b": None}
    )


@pytest.mark.parametrize("text", ["{", "{a: 1}", '{"a": 1} x', '{"a": 01}', "{'a': 1}"])
def test_a_broken_object_has_no_arguments(text: str) -> None:
    assert read(text) == ReadCall(name="f", arguments={}, is_broken=True)


def test_json_of_the_deepest_nesting_is_read_and_none_deeper() -> None:
    inner = DEEPEST_JSON - 1
    deepest = '{"a": ' + "[" * inner + "]" * inner + "}"
    assert not read(deepest).is_broken
    deeper = '{"a": [' + "[" * inner + "]" * inner + "]}"
    assert read(deeper) == ReadCall(name="f", arguments={}, is_broken=True)
    assert read('{"a": ' * 100_000) == ReadCall(name="f", arguments={}, is_broken=True)


def test_many_shallow_lists_are_not_deep() -> None:
    assert read('{"a": [' + "[], " * 1000 + "1]}").arguments["a"][-1] == 1


def test_white_space_around_a_bare_value_is_no_part_of_it() -> None:
    assert read(" [1, 2 \n").arguments == {"x": "[1, 2"}


def test_a_bare_value_of_an_unknown_tool_is_bound_to_nothing() -> None:
    assert read("5", "g") == ReadCall(name="g", arguments={}, is_bare=True)


def test_a_call_without_name_and_arguments_is_read() -> None:
    assert read(None, None) == ReadCall(name="", arguments={}, is_bare=True)
    assert read(None) == ReadCall(name="f", arguments={"x": None}, is_bare=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("Pulp Fiction", "Pulp Fiction"),
        ('"20"', "20"),
        ("[[1, 1], [2, 3]]", [[1, 1], [2, 3]]),
        ("n: 20", {"n": 20}),
        ("yes", True),
        ("~", None),
        ("1:30", 90),
        ("2024-02-03", datetime.date(2024, 2, 3)),
        ("[&a 1, *a]", [1, 1]),
        # What is no YAML is itself.
        ("[1, 2", "[1, 2"),
        ("a: b: c", "a: b: c"),
        ("*bold* text", "*bold* text"),
        ("*nothing", "*nothing"),
        ("--- a\n--- b", "--- a\n--- b"),
        ("\0", "\0"),
        ('!!python/object/apply:os.getcwd []', '!!python/object/apply:os.getcwd []'),
        ("```json\n5\n```", "```json\n5\n```"),
    ],
)  # fmt: skip
def test_a_bare_value_is_yaml_or_text(text: str, value: Any) -> None:
    found = read_bare_value(text).value
    assert (found, type(found)) == (value, type(value))
    assert read(text) == ReadCall(name="f", arguments={"x": value}, is_bare=True)


@pytest.mark.parametrize(
    ("text", "why", "raises"),
    [
        ("a" * (LONGEST_CHARACTERS + 1), "longer than 10000 characters", False),
        ("[" * (DEEPEST + 1), "nested deeper than 30", False),
        ("[" * 10_000, "nested deeper than 30", False),
        ("- " * 5_000, "nested deeper than 30", False),
        ("? " * 5_000, "nested deeper than 30", False),
        ("[{a: " * 2_000, "nested deeper than 30", False),
        ("[&a [x], *a]", "repeats a list or mapping by alias", False),
        ("&a [*a]", "repeats a list or mapping by alias", False),
        ("a: &a {x: 1}\nb: &b {<<: [*a, *a]}", "repeats a list or mapping by alias", False),
        ("2024-13-45", "ValueError in PyYAML", True),
        ("0x_", "ValueError in PyYAML", True),
        ("1_" * 4_900, "ValueError in PyYAML", True),
        ('!!int ""', "IndexError in PyYAML", True),
        ('!!bool "x"', "KeyError in PyYAML", True),
        ('!!timestamp "x"', "AttributeError in PyYAML", True),
        ('!!float "' + "1:" * 2_000 + '1.0"', "OverflowError in PyYAML", True),
    ],
)
def test_a_bare_value_outside_the_bounds_is_refused(text: str, why: str, raises: bool) -> None:
    with pytest.raises(UnreadableValueError, match=why) as refused:
        read_bare_value(text)
    assert refused.value.raises is raises
    assert read(text) == ReadCall(
        name="f", arguments={}, is_broken=True, is_bare=True, raises=raises
    )


def test_values_at_the_bounds_are_read() -> None:
    assert read_bare_value("a" * LONGEST_CHARACTERS).value == "a" * LONGEST_CHARACTERS
    deepest = "[" * DEEPEST + "]" * DEEPEST
    assert str(read_bare_value(deepest).value) == deepest
    assert len(read_bare_value("[" + "[], " * 100 + "]").value) == 100


@given(st.text(st.sampled_from("[]{}:-?&*!|>'\"%@`#,a1.\n <=~_x\t\0\ud800")))
def test_no_text_makes_reading_a_bare_value_fail_otherwise(text: str) -> None:
    call = read(text)
    assert call.arguments.keys() <= {"x"} or text.strip().startswith("{")
    show_call(call).encode()


# Targets --------------------------------------------------------------------------------------


def test_a_target_is_a_call_with_literal_keyword_arguments() -> None:
    name, arguments = read_target("f(a=-1, b=(1, [2.5]), c='x', d=None, e={'k': True})", "row")
    assert name == "f"
    assert arguments == {"a": -1, "b": [1, [2.5]], "c": "x", "d": None, "e": {"k": True}}


@pytest.mark.parametrize(
    "source",
    [
        *("", "f", "f(1)", "f(a=b)", "f(a=1 + 'x')", "m.f(a=1)", "f(**{'a': 1})", "f(a={1})"),
        *("f(a=1); g()", "f(a=1", "f(a=b'x')", "f(a=" + "(" * 300 + ")" * 300 + ")", "\0"),
    ],
)
def test_any_other_target_is_refused(source: str) -> None:
    says = "bfcl: record 7: the right answer .* is no call of a function with literal keyword"
    with pytest.raises(DataError, match=says):
        read_target(source, "bfcl: record 7")


# Showing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"a": "1", "b": 1, "c": [true, null]}', "f(a='1', b=1, c=[True, None])"),
        ('{"a b": 1, "\\ud800": 2}', "f('a b'=1, '\\ud800'=2)"),
        ('{"a": NaN, "b": 1e999}', "f(a=nan, b=inf)"),
        ('{"a": "\\ud800"}', "f(a='\\ud800')"),
        ("2024-02-03", "f(x=datetime.date(2024, 2, 3))"),
        ("0x" + "f" * 5000, "f(x=<an enormous number>)"),
        ("[0x" + "f" * 5000 + "]", "f(x=[<an enormous number>])"),
        ("1:" * 4000 + "1", "f(x=<an enormous number>)"),
        ('{"a": [[[[[[[[1]]]]]]]]}', "f(a=[[[[[[[...]]]]]]])"),
    ],
)
def test_a_call_is_shown_as_python_would_write_it(arguments: str, shown: str) -> None:
    assert show_call(read(arguments)) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": "' + "x" * 100_000 + '"}',
        '{"' + "k" * 100_000 + '": 1}',
        "{" + ", ".join(f'"k{i}": "some text"' for i in range(5000)) + "}",
        '{"a": [' + "[1, 2, 3], " * 10_000 + "1]}",
    ],
)
def test_a_long_call_is_shortened(arguments: str) -> None:
    shown = show_call(read(arguments))
    assert len(shown) <= SHOWN_CHARACTERS
    assert len(shown) < SHOWN_CHARACTERS or shown.endswith("…")


def test_a_name_that_is_no_name_is_quoted() -> None:
    assert show_call(read("{}", "a b\ud800")) == "'a b\\ud800'()"
    assert show_call(read("{}", "n" * 100_000)).startswith("'nnn")
