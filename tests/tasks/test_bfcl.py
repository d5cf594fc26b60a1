from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import Completion, DataError, Sample
from ptb_plugins.tasks.bfcl.tools import (
    checked_function,
    default_arguments,
    openai_tool,
    parameter_order,
)
from tests.tasks.invented import BFCL, BFCL_ROWS, bfcl_data, bfcl_row, both, call, calling, score

RIGHT = '{"numbers": [3, 1.5]}'


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return list(BFCL.samples(bfcl_data(tmp_path)))


def test_the_request_offers_the_record_s_tool(samples: list[Sample]) -> None:
    (request,) = BFCL.requests(samples[0], "published")
    assert request.messages == ({"role": "user", "content": "Sort list 0."},)
    assert request.tools == (
        {
            "type": "function",
            "function": {
                "name": "sort_numbers",
                "description": "Sorts numbers.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "numbers": {
                            "type": "array",
                            "description": "The numbers.",
                            "items": {"type": "number"},
                        },
                        "reverse": {
                            "type": "boolean",
                            "description": "Downwards.",
                            "default": False,
                        },
                        "note": {"type": "string", "description": "A note."},
                    },
                    "required": ["numbers"],
                    "additionalProperties": False,
                },
            },
        },
    )
    assert request.max_tokens is None
    assert BFCL.requests(samples[0], "seeded") == (request,)


def test_a_conversation_of_several_messages_is_asked_whole(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sort."}]
    row = bfcl_row(0, "sort_numbers(numbers=[1])", question=[messages])
    (sample,) = BFCL.samples(bfcl_data(tmp_path, [row]))
    (request,) = BFCL.requests(sample, "published")
    assert list(request.messages) == messages
    assert sample.input["question"] == "Be brief.\nSort."


def test_ids_are_the_records_own_and_tuples_become_lists(samples: list[Sample]) -> None:
    assert [sample.id for sample in samples] == [row["id"] for row in BFCL_ROWS]
    assert samples[1].target == {
        "name": "sort_numbers",
        "arguments": {"numbers": [2, 1], "reverse": False},
    }


@pytest.mark.parametrize(
    ("number", "arguments", "published", "repaired"),
    [
        (0, RIGHT, 1, 1),
        (0, f"  \n{RIGHT}\t", 1, 1),
        (0, '{"numbers": [3.0, 1.5]}', 1, 1),
        (0, '{"numbers": [1.5, 3]}', 0, 0),
        (0, '{"numbers": ["3", "1.5"]}', 0, 0),
        (0, '{"numbers": "[3, 1.5]"}', 0, 0),
        (0, '{"numbers": [[3, 1.5]]}', 0, 0),
        (0, '{"numbers": {"0": 3, "1": 1.5}}', 0, 0),
        (0, '{"numbers": null}', 0, 0),
        (0, '{"numbers": [3, NaN]}', 0, 0),
        (0, '{"numbers": [3, 1.5], "extra": 1}', 0, 0),
        (0, '{"Numbers": [3, 1.5]}', 0, 0),
        (0, '{"arguments": {"numbers": [3, 1.5]}}', 0, 0),
        (0, '{"numbers": [1], "numbers": [3, 1.5]}', 1, 1),
        (0, '{"numbers": [3, 1.5], "numbers": [1]}', 0, 0),
        (0, '{"numbers": [3, 1.5]', 0, 0),
        (0, '{"numbers": [3, 1.5],}', 0, 0),
        (0, "{'numbers': [3, 1.5]}", 0, 0),
        (0, RIGHT + " ok", 0, 0),
        (0, "{}", 0, 0),
        (0, "", 0, 0),
        (0, None, 0, 0),
        (0, "null", 0, 0),
        (0, f"[{RIGHT}]", 0, 0),
        # A bare value is read as YAML and given to the first parameter, when published.
        (0, "[3, 1.5]", 1, 0),
        (0, "- 3\n- 1.5", 1, 0),
        (0, "numbers: [3, 1.5]", 0, 0),
        (0, "3", 0, 0),
        # The default of an optional parameter may be given or left out, when repaired.
        (0, '{"numbers": [3, 1.5], "reverse": false}', 0, 1),
        (0, '{"numbers": [3, 1.5], "reverse": 0}', 0, 1),
        (0, '{"numbers": [3, 1.5], "reverse": true}', 0, 0),
        (0, '{"numbers": [3, 1.5], "reverse": null}', 0, 0),
        (0, '{"numbers": [3, 1.5], "note": null}', 0, 0),
        (1, '{"numbers": [2, 1], "reverse": false}', 1, 1),
        (1, '{"numbers": [2, 1]}', 0, 1),
        (1, '{"numbers": [2, 1], "reverse": true}', 0, 0),
        (1, '{"reverse": false}', 0, 0),
        (1, "[2, 1]", 0, 0),
        (2, '{"numbers": [1, 2], "reverse": true, "note": "x"}', 1, 1),
        (2, '{"numbers": [1, 2], "reverse": 1, "note": "x"}', 1, 1),
        (2, '{"note": "x", "reverse": true, "numbers": [1.0, 2]}', 1, 1),
        (2, '{"numbers": [1, 2], "note": "x"}', 0, 0),
        (2, '{"numbers": [1, 2], "reverse": true}', 0, 0),
    ],
)
def test_arguments_are_compared_both_ways(
    samples: list[Sample], number: int, arguments: str | None, published: int, repaired: int
) -> None:
    assert both(BFCL, samples[number], calling(call(arguments))) == (published, repaired)


@pytest.mark.parametrize("name", ["sort_number", "SORT_NUMBERS", " sort_numbers", "", None])
def test_another_name_is_wrong(samples: list[Sample], name: str | None) -> None:
    assert both(BFCL, samples[0], calling(call(RIGHT, name))) == (0.0, 0.0)


def test_text_beside_the_call_does_not_count(samples: list[Sample]) -> None:
    completion = Completion(text="<think>a</think> I call it.", tool_calls=(call(RIGHT),))
    assert both(BFCL, samples[0], completion) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("completion", "marks", "answer"),
    [
        (Completion(text=RIGHT), ("no-tool-call",), None),
        (calling(), ("no-tool-call",), None),
        (
            calling(call(RIGHT), call(RIGHT)),
            ("several-tool-calls",),
            "sort_numbers(numbers=[3, 1.5]); sort_numbers(numbers=[3, 1.5])",
        ),
        (calling(call("{")), ("broken-arguments",), "sort_numbers()"),
        (calling(call("x")), ("bare-arguments",), "sort_numbers(numbers='x')"),
        (calling(call("x", "f")), ("bare-arguments",), "f()"),
        (calling(call(RIGHT)), (), "sort_numbers(numbers=[3, 1.5])"),
        (
            Completion(text=None, error="too long", http_status=400, finish_reason="error"),
            ("prompt-too-long", "no-tool-call"),
            None,
        ),
        (
            Completion(text=None, error="lost", http_status=500, finish_reason="error"),
            ("no-answer", "no-tool-call"),
            None,
        ),
    ],
)
def test_what_kind_of_reply_it_was_is_marked(
    samples: list[Sample], completion: Completion, marks: tuple[str, ...], answer: str | None
) -> None:
    for scoring in ("published", "repaired"):
        found = score(BFCL, samples[0], completion, scoring)
        assert (found.marks, found.answer) == (marks, answer)


@pytest.mark.parametrize(
    "arguments",
    ['{"numbers": ' + "9" * 5000 + "}", "9" * 5000, "2024-13-45", "0x_", '!!int ""', "!!bool x"],
)
def test_arguments_of_which_the_published_client_dies_are_marked_there_only(
    samples: list[Sample], arguments: str
) -> None:
    completion = calling(call(arguments))
    published, repaired = (
        score(BFCL, samples[0], completion, kind) for kind in ("published", "repaired")
    )
    assert (published.value, repaired.value) == (0.0, 0.0)
    assert "published-code-raises" in published.marks
    assert "published-code-raises" not in repaired.marks
    assert "broken-arguments" in repaired.marks


def test_a_call_that_kills_the_published_client_does_so_beside_another(
    samples: list[Sample],
) -> None:
    completion = calling(call(RIGHT), call("2024-13-45"))
    assert score(BFCL, samples[0], completion, "published").marks == (
        "several-tool-calls",
        "published-code-raises",
    )


def test_accuracy_and_standard_error_are_over_samples(samples: list[Sample]) -> None:
    scores = [score(BFCL, sample, calling(call(RIGHT)), "repaired") for sample in samples]
    total = BFCL.aggregate(scores, "repaired")
    assert (total.value, total.n) == (pytest.approx(1 / 3), 3)
    assert total.stderr == pytest.approx((1 / 3 * 2 / 3 / 2) ** 0.5)


def test_questions_are_what_judges_search_for(tmp_path: Path) -> None:
    items = list(BFCL.contamination_items(bfcl_data(tmp_path)))
    assert [(item.id, item.text, item.allowed) for item in items] == [
        (f"exec_simple_{number}", f"Sort list {number}.", False) for number in range(3)
    ]


# The tool of a record -------------------------------------------------------------------------


def function(**parameters: Any) -> dict[str, Any]:
    return {
        "name": "f",
        "description": "Does it.",
        "parameters": {"type": "dict", "properties": parameters, "required": []},
    }


def test_parameters_are_offered_in_the_order_of_the_whole_file() -> None:
    first = function(height={"type": "integer"}, base={"type": "integer"})
    second = function(weight={"type": "float"}, base={"type": "float"}, height={"type": "float"})
    order = parameter_order([first, second])
    assert order == {"height": 0, "base": 1, "weight": 2}
    offered = openai_tool(second, order)["function"]["parameters"]["properties"]
    assert list(offered) == ["height", "base", "weight"]


def test_a_bare_value_is_that_of_the_first_offered_parameter(tmp_path: Path) -> None:
    one = bfcl_row(0, "f(b=1)", function=[function(b={"type": "integer"})])
    two = bfcl_row(1, "f(b=1)", function=[function(a={"type": "integer"}, b={"type": "integer"})])
    samples = BFCL.samples(bfcl_data(tmp_path, [one, two]))
    assert both(BFCL, samples[1], calling(call("1", "f"))) == (1.0, 0.0)


def test_types_become_those_of_json_at_every_depth() -> None:
    schema = {
        "type": "dict",
        "properties": {"x": {"type": "tuple", "items": {"type": "float"}, "enum": [1, None]}},
        "required": ["x"],
        "additionalProperties": None,
        "format": "odd",
    }
    checked = checked_function(function(a=schema), "bfcl: record 0")
    tool = openai_tool(checked, {"a": 0})["function"]
    assert tool["parameters"]["properties"]["a"] == {
        "type": "object",
        "properties": {"x": {"type": "array", "items": {"type": "number"}, "enum": [1, None]}},
        "required": ["x"],
    }


def test_defaults_are_those_of_optional_parameters_and_never_null() -> None:
    checked = checked_function(
        {
            **function(
                a={"type": "integer", "default": 1},
                b={"type": "integer", "default": 0},
                c={"type": "string", "default": None},
                d={"type": "string"},
            ),
        },
        "bfcl: record 0",
    )
    checked["parameters"]["required"].append("a")
    assert default_arguments(checked) == {"b": 0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": 5}, "bfcl: row 0 has no text 'id'"),
        ({"function": []}, "bfcl: record exec_simple_0: 'function' must be one object or a list"),
        ({"function": [{}, {}]}, "record exec_simple_0: 'function' must be one object or a list"),
        ({"function": [5]}, "record exec_simple_0: 'function' must be one object or a list"),
        ({"function": None}, "record exec_simple_0: 'function' must be one object or a list"),
        ({"function": [{"description": "a"}]}, "'function' has no text 'name'"),
        ({"function": [{"name": "f"}]}, "'function' has no text 'description'"),
        (
            {"function": [{"name": "f", "description": "a"}]},
            "'function' has no 'parameters' with 'properties'",
        ),
        ({"function": [function()]}, "'function' has no parameter; expected one at least"),
        ({"function": [function(a=5)]}, "parameter 'a' is described by 5, expected an object"),
        (
            {"function": [function(a={"type": "any"})]},
            "parameter 'a' has the type 'any'; known types are array, boolean, dict, float",
        ),
        ({"function": [function(a={})]}, "parameter 'a' has the type None; known types are"),
        (
            {"function": [function(a={"type": "array", "items": {"type": 1}})]},
            "parameter 'a', items, has the type 1; known types are",
        ),
        (
            {"function": [function(a={"type": "dict", "properties": {"b": {"type": "x"}}})]},
            "parameter 'a', property 'b', has the type 'x'; known types are",
        ),
        ({"question": []}, "record exec_simple_0: 'question' must be a list of one conversation$"),
        ({"question": ["a"]}, "record exec_simple_0: 'question' must be a list of one conversa"),
        ({"question": [[5]]}, "record exec_simple_0: a message lacks its role or its content"),
        ({"question": [[{"role": "user"}]]}, "a message lacks its role or its content"),
        ({"question": [[{"content": "a"}]]}, "a message lacks its role or its content"),
        ({"ground_truth": []}, "record exec_simple_0: 'ground_truth' must be a list of one text$"),
        ({"ground_truth": "f()"}, "exec_simple_0: 'ground_truth' must be a list of one text"),
        (
            {"ground_truth": ["sort(numbers=[1])"]},
            "the right answer calls 'sort', the function is 'sort_numbers'",
        ),
        ({"ground_truth": ["1 +"]}, r"the right answer '1 \+' is no call of a function with lit"),
    ],
)
def test_a_broken_record_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    row = bfcl_row(0, "sort_numbers(numbers=[1])", **changes)
    with pytest.raises(DataError, match=says):
        BFCL.samples(bfcl_data(tmp_path, [row]))


def test_one_function_need_not_stand_in_a_list(tmp_path: Path) -> None:
    row = bfcl_row(0, "f(a=1)", function=function(a={"type": "integer"}))
    (sample,) = BFCL.samples(bfcl_data(tmp_path, [row]))
    assert sample.input["tool"]["function"]["name"] == "f"
