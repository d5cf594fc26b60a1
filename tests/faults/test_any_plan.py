"""Any plan at all: valid, or exit code 2 with one line per fault; never a traceback."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.data import data_dir

from ..plan.conftest import PLAN
from .documents import broken_files, documents
from .profiles import FEW, MANY
from .sentences import assert_lists_faults, assert_speaks_plainly, run

SHIPPED = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((data_dir() / "plans").glob("*.json"))
}
FULL: dict[str, Any] = {
    **PLAN,
    "description": "d",
    "repeats": 2,
    "seed": 1,
    "include": [{"task": "errands"}],
    "exclude": [{"agent": "null", "repeat": 2}],
    "weights": {"errands": 1},
    "budgets": {"run_usd": 1, "cell_usd": 1, "grader_usd": 1},
    "grader": {"model": "m", "base_url": "http://h/v1", "api_key_env": None, "max_in_flight": 1},
    "prices": {
        "gpu_hour_usd": 1,
        "grader": {"input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 1},
    },
    "executor": {"name": "local", "settings": {"max_cells": 1}},
    "baselines": "measured",
    "protocol": {"base": "strict", "limit": 5, "max_tokens": 64, "sampling": {"seed": 1}},
}
GRADED: dict[str, Any] = {
    **FULL,
    "tasks": ["errands", "healthbench"],
    "grader": {**FULL["grader"], "timeout_s": 9, "prompts": {"healthbench": "judge.txt"}},
    "weights": {"errands": 1, "healthbench": 1},
}
PLANS = st.one_of(
    broken_files(FULL),
    broken_files(GRADED),
    broken_files(PLAN),
    *(broken_files(plan) for plan in SHIPPED.values()),
    documents("plan").flatmap(broken_files),
    documents("plan").map(lambda plan: json.dumps(plan).encode()),
)


def check(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        (Path(folder) / "agent.py").write_text("", "utf-8")
        (Path(folder) / "judge.txt").write_text("<<conversation>> <<rubric_item>>", "utf-8")
        path.write_bytes(content)
        code, out, err = run(["validate", str(path)])
        if code == 0:
            assert "valid" in out
            assert err == ""
            assert_speaks_plainly(out.replace("\n", ""))
        else:
            assert code == 2, err
            assert_lists_faults(err, str(path))


@settings(FEW)
@given(PLANS)
def test_any_plan_is_valid_or_its_faults_are_listed(content: bytes) -> None:
    check(content)


@pytest.mark.slow
@settings(MANY)
@given(PLANS)
def test_any_of_very_many_plans_is_valid_or_its_faults_are_listed(content: bytes) -> None:
    check(content)


def test_a_plan_cut_after_any_byte_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    content = json.dumps(PLAN, indent=1).encode()
    for keep in range(len(content)):
        path.write_bytes(content[:keep])
        code, _, err = run(["validate", str(path)])
        assert code == 2
        assert_lists_faults(err, str(path))


# What the property tests have found ------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"condition": {"hours": 1, "gpus": 1.0}},
            "$.condition.gpus: found 1.0 (a number); expected an integer: Number of GPUs the agent "
            "has",
        ),
        (
            {"agents": [{"name": "a", "scaffold": "script", "settings": {"program": True}}]},
            "$.agents[0].settings.program: found true; expected a string",
        ),
        (
            {
                "agents": [
                    {
                        "name": "a",
                        "scaffold": "script",
                        "settings": {"program": "agent.py", "files": ["agent.py", [1]]},
                    }
                ]
            },
            '$.agents[0].settings.files: found ["agent.py", [1]]; expected paths, each a text',
        ),
        (
            {"agents": [{"name": "a", "scaffold": "script", "settings": {"program": "a\0b"}}]},
            '$.agents[0].settings.program: found "a\\u0000b"; expected a path',
        ),
        (
            {"condition": {"hours": 1, "gpus": 0, "prompt": "a\0b"}},
            '$.condition.prompt: found "a\\u0000b", which is no file; expected `default`, or a '
            "file relative to the plan's folder",
        ),
        (
            {"condition": {"hours": 1, "gpus": 0, "prompt": "x" * 300}},
            f'$.condition.prompt: found "{"x" * 56}..., which is no file; expected `default`, or a '
            "file relative to the plan's folder",
        ),
        (
            {"agents": [{"name": "a", "scaffold": "script", "settings": {"program": "y/" * 2000}}]},
            f'$.agents[0].settings.program: found "{"y/" * 28}...; expected a path',
        ),
        (
            {"weights": {"a\nb": 1, "errands": 1}},
            '$.weights["a\\nb"]: found a task that is not in the plan; expected one of $.tasks',
        ),
        (
            {"tasks": ["errands\u202e"]},
            '$.tasks[0]: found "errands\\u202e"; expected lower-case letters and digits, in words '
            "joined by '-' or '.', such as 'my-task': Name of a task",
        ),
    ],
)
def test_a_plan_that_was_once_a_crash_is_one_fault(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    path = tmp_path / "plan.json"
    (tmp_path / "agent.py").write_text("", "utf-8")
    path.write_text(json.dumps({**PLAN, **changes}), "utf-8")
    code, _, err = run(["validate", str(path)])
    assert (code, err) == (2, f"ptb: {path}: 1 fault\n  {fault}\n")


def test_what_cannot_be_a_path_is_no_plan_file() -> None:
    code, _, err = run(["validate", "z" * 5000])
    assert (code, err) == (2, f'ptb: no plan file: "{"z" * 56}... cannot be the path of one\n')
