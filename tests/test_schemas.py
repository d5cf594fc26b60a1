"""The schemas mirror the specs; faults are told in words, all at once, in document order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.data import data_dir
from ptb_core.errors import InputFileError, UsageError
from ptb_core.manifests import SPEC_TYPES
from ptb_core.schemas import _validator, check, faults, load_json
from ptb_core.specs import DataFile, FileSource, PromptText, Setting

SCHEMAS = sorted((data_dir() / "schemas").glob("*.schema.json"))

PARTS = {
    ("task", "data_file"): DataFile,
    ("task", "file_source"): FileSource,
    ("task", "prompt"): PromptText,
    ("model", "file_source"): FileSource,
    **{
        (kind, "setting"): Setting
        for kind in ("scaffold", "sandbox", "engine", "judge", "executor")
    },
}


def schema(kind: str) -> dict[str, Any]:
    return json.loads((data_dir() / "schemas" / f"{kind}.schema.json").read_text("utf-8"))


def required_fields(spec_type: type) -> set[str]:
    return {
        field.name
        for field in dataclasses.fields(spec_type)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }


def nodes(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, dict | list) else ():
        yield from nodes(item, f"{path}.{key}") if isinstance(item, dict | list) else ()


# Mirror ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SPEC_TYPES)
def test_a_manifest_schema_has_exactly_the_fields_of_its_spec(kind):
    fields = {field.name for field in dataclasses.fields(SPEC_TYPES[kind])}
    assert set(schema(kind)["properties"]) == fields | {"$schema"}
    assert set(schema(kind)["required"]) == required_fields(SPEC_TYPES[kind])


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_a_part_of_a_manifest_has_exactly_the_fields_of_its_spec(kind, part):
    definition = schema(kind)["$defs"][part]
    fields = {field.name for field in dataclasses.fields(PARTS[kind, part])}
    assert set(definition["properties"]) == fields
    assert set(definition["required"]) == required_fields(PARTS[kind, part])


@pytest.mark.parametrize("kind", SPEC_TYPES)
def test_every_part_of_a_manifest_schema_is_compared_with_a_spec(kind):
    assert {(kind, part) for part in schema(kind).get("$defs", {})} <= set(PARTS)


@pytest.mark.parametrize("kind", [*SPEC_TYPES, *{part for _, part in PARTS}])
def test_defaults_in_a_schema_are_those_of_the_spec(kind):
    owners = {(k, None): SPEC_TYPES[k] for k in SPEC_TYPES} | PARTS
    for (owner, part), spec_type in owners.items():
        if kind not in (owner, part):
            continue
        described = schema(owner)["$defs"][part] if part else schema(owner)
        for field in dataclasses.fields(spec_type):
            if field.name in required_fields(spec_type):
                continue
            default = json.loads(json.dumps(field.default))
            assert described["properties"][field.name].get("default") == default, field.name


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_a_schema_is_valid_draft_2020_12_and_named_after_its_file(path):
    from jsonschema import Draft202012Validator

    content = json.loads(path.read_text("utf-8"))
    Draft202012Validator.check_schema(content)
    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert content["$id"].endswith(f"/{path.name}")


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_every_property_of_a_schema_is_described(path):
    undescribed = [
        f"{where}.{name}"
        for where, node in nodes(json.loads(path.read_text("utf-8")))
        if isinstance(node, dict) and isinstance(node.get("properties"), dict)
        for name, definition in node["properties"].items()
        if not (isinstance(definition, dict) and definition.get("description"))
    ]
    assert undescribed == []


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_every_object_of_a_schema_says_what_else_it_may_hold(path):
    open_objects = [
        where
        for where, node in nodes(json.loads(path.read_text("utf-8")))
        if isinstance(node, dict) and "properties" in node and node.get("type") == "object"
        if "additionalProperties" not in node
    ]
    assert open_objects == []


# Faults ---------------------------------------------------------------------------------------

TASK: dict[str, Any] = {
    "name": "riddles",
    "title": "Riddles",
    "description": "Riddles.",
    "metric": "accuracy",
    "n_samples": 3,
    "max_tokens": 8,
}


def fault_of(schema_name: str = "task", **changes: Any) -> str:
    (fault,) = faults({**TASK, **changes}, schema_name)
    return str(fault)


def test_right_data_has_no_fault():
    assert faults(TASK, "task") == ()
    check(TASK, "task", "riddles.json")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"n_samples": "3"},
            '$.n_samples: found "3" (a string); expected an integer: Number of test samples of '
            "the full task",
        ),
        (
            {"n_samples": True},
            "$.n_samples: found true (a boolean); expected an integer: Number of test samples of "
            "the full task",
        ),
        (
            {"n_samples": 0},
            "$.n_samples: found 0; expected a number of at least 1: Number of test samples of the "
            "full task",
        ),
        (
            {"weight": 0},
            "$.weight: found 0; expected a number above 0: Published weight in the benchmark "
            "score, a fraction in (0, 1]; null for a task outside it",
        ),
        (
            {"weight": "much"},
            '$.weight: found "much" (a string); expected a number or null: Published weight in '
            "the benchmark score, a fraction in (0, 1]; null for a task outside it",
        ),
        (
            {"name": "My Riddles"},
            '$.name: found "My Riddles"; expected lower-case letters and digits, in words joined '
            "by '-' or '.', such as 'my-task': Kebab-case id, equal to the manifest's file name "
            "without `.json`",
        ),
        (
            {"needs": ["grader", "graders"]},
            '$.needs[1]: found "graders"; expected one of "grader", "execute", "tools" (did you '
            "mean 'grader'?): `grader`: an outside LLM; `execute`: a sandbox that runs "
            "model-written code; `tools`: an engine that parses tool calls",
        ),
        (
            {"needs": ["tools", "tools"]},
            '$.needs: found "tools" more than once; expected each item once: Special needs of '
            "evaluation",
        ),
        (
            {"lm_eval": {}},
            "$.lm_eval: found {}; expected at least 1 key: For tasks that lm-eval runs: exactly "
            "one of `task` and `config`; null otherwise",
        ),
        (
            {"title": ""},
            '$.title: found ""; expected at least 1 character: Name shown to the agent and in '
            "reports",
        ),
        (
            {"data": [{"name": "test", "source": {"hubb": "a/b"}}]},
            "$.data[0].source.hubb: found unknown key 'hubb'; expected one of packaged, hub, "
            "revision, path, wheel, url, sha256, convert, size_gib (did you mean 'hub'?)",
        ),
        (
            {"data": [{"name": "test"}]},
            "$.data[0].source: found nothing; expected a value: Where it comes from",
        ),
        (
            {"an odd key": 1},
            "$[\"an odd key\"]: found unknown key 'an odd key'; expected one of name, title, "
            "description, metric, n_samples, max_tokens, higher_is_better, default_limit, weight, "
            "data, prompts, lm_eval, needs, grading, source",
        ),
    ],
)
def test_a_fault_says_where_what_stands_there_and_what_should(changes, expected):
    assert fault_of(**changes) == expected


def test_something_that_is_no_object_at_all_is_one_fault():
    (fault,) = faults([], "task")
    assert str(fault).startswith("$: found [] (an array); expected an object: The facts of a")


def test_all_faults_come_at_once_in_document_order_with_missing_keys_last():
    wrong = {"zzz": 1, "name": "X", "n_samples": -1, "title": 5, "description": "d", "metric": "m"}
    with pytest.raises(InputFileError) as caught:
        check(wrong, "task", "dir/riddles.json")
    assert [fault.path for fault in caught.value.faults] == [
        "$.zzz",
        "$.name",
        "$.n_samples",
        "$.title",
        "$.max_tokens",
    ]
    assert str(caught.value).startswith("dir/riddles.json: 5 faults\n  $.zzz: found unknown key")
    assert caught.value.exit_code == 2


PLAN: dict[str, Any] = {
    "name": "p",
    "tasks": ["t"],
    "models": ["m"],
    "agents": [{"name": "a", "scaffold": "s"}],
    "condition": {"hours": 1, "gpus": 0},
    "sandbox": {"name": "x"},
    "engine": {"name": "x"},
    "judges": [],
    "protocol": "strict",
}


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (
            "strct",
            '$.protocol: found "strct" (a string); expected one of "paper-v1", "strict" (did you '
            "mean 'strict'?) or an object: Requests + scoring: `paper-v1`, `strict`, or one of "
            "them with changes",
        ),
        (
            7,
            '$.protocol: found 7 (an integer); expected one of "paper-v1", "strict" or an object: '
            "Requests + scoring: `paper-v1`, `strict`, or one of them with changes",
        ),
        (
            {"base": "strict", "limit": 0},
            "$.protocol.limit: found 0; expected a number of at least 1: Number of samples of "
            "each task to take",
        ),
    ],
)
def test_of_several_forms_the_one_that_was_meant_is_explained(protocol, expected):
    (fault,) = faults({**PLAN, "protocol": protocol}, "plan")
    assert str(fault) == expected


def test_a_key_of_the_wrong_form_is_named():
    baseline = {
        "name": "b",
        "description": "d",
        "source": "s",
        "sets": [{"name": "n", "description": "d", "protocol": "p", "scores": {"A B": {"t": 0}}}],
    }
    (fault,) = faults(baseline, "baseline")
    assert fault.path == '$.sets[0].scores["A B"]'
    assert fault.found == "the key 'A B'"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*PLAN, "weights", "include", "x"]), JSON_VALUES))
def test_any_json_at_all_is_answered_with_faults_and_never_with_an_exception(changes):
    data = {**PLAN, **changes}
    valid = _validator("plan").is_valid(data)
    found = faults(data, "plan")
    assert valid == (not found)
    assert len(found) == len(set(found))


# Files ----------------------------------------------------------------------------------------


def message_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        load_json(path)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{\n  "a": 1,\n}',
            "FILE: 1 fault\n  $: found no JSON at line 3, column 1: Expecting property name "
            'enclosed in double quotes ("}"); expected no comma after the last value',
        ),
        (
            b"{'a': 1}",
            "FILE: 1 fault\n  $: found no JSON at line 1, column 2: Expecting property name "
            'enclosed in double quotes ("{\'a\': 1}"); expected texts in double quotes "',
        ),
        (
            b'{\n  // why\n  "a": 1\n}',
            "FILE: 1 fault\n  $: found no JSON at line 2, column 3: Expecting property name "
            'enclosed in double quotes ("// why"); expected no comments: JSON has none',
        ),
        (
            b" \n",
            "FILE: 1 fault\n  $: found no JSON at line 2, column 1: Expecting value; expected a "
            "JSON object; the file is empty",
        ),
        (
            b'{"a": 1} {"b": 2}',
            "FILE: 1 fault\n  $: found no JSON at line 1, column 10: Extra data "
            '("{\\"a\\": 1} {\\"b\\": 2}"); expected valid JSON',
        ),
        (
            b'\xef\xbb\xbf{"a": 1}',
            "FILE: 1 fault\n  $: found a byte order mark; expected UTF-8 without one: save the "
            "file anew",
        ),
        (
            b'{\n"a": "caf\xe9"}',
            "FILE: 1 fault\n  $: found byte 0xe9 in line 2, which is no UTF-8; expected a file in "
            "UTF-8: save it in that encoding",
        ),
        (
            b'{"a": {"b": [0, {"c": 1, "c": 2}]}, "a b": 1, "a b": 1}',
            "FILE: 2 faults\n  $.a.b[1].c: found the key 'c' more than once; expected each key "
            "once\n  $[\"a b\"]: found the key 'a b' more than once; expected each key once",
        ),
        (
            b'{"a": NaN}',
            "FILE: 1 fault\n  $: found the number NaN, which JSON does not have; expected JSON "
            "numbers of a usual size",
        ),
        (
            b'{"a": 1e999}',
            "FILE: 1 fault\n  $: found the number 1e999, which is too large; expected JSON numbers "
            "of a usual size",
        ),
        (
            b'{"a": -' + b"9" * 5000 + b"}",
            "FILE: 1 fault\n  $: found the number -9999999999999999999..., which is too large; "
            "expected JSON numbers of a usual size",
        ),
        (
            b'{"a": 9223372036854775808}',
            "FILE: 1 fault\n  $: found the number 9223372036854775808, which is too large; "
            "expected JSON numbers of a usual size",
        ),
        (
            b"[" * 200_000,
            "FILE: 1 fault\n  $: found values nested too deeply; expected fewer levels of nesting",
        ),
    ],
)
def test_a_file_that_is_no_strict_json_says_where_and_what_to_do(tmp_path, content, message):
    assert message_of(tmp_path / "file.json", content) == message


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        load_json(tmp_path / "none.json")
    with pytest.raises(UsageError, match="found a folder; expected a JSON file"):
        load_json(tmp_path)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "file.json"
    path.write_bytes(content)
    try:
        read = load_json(path)
    except UsageError as error:
        message = str(error)
        assert message.startswith(f"{path}: 1 fault")
    else:
        assert read == json.loads(content)
