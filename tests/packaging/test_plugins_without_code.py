"""A model and an lm-eval task from third-party distributions without Python code, run offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from environments import ROOT, Environment

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["posttrainbench"]

[project.entry-points."ptb.v1"]
{name} = "{package}"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""

MODEL = {
    "name": "their-model",
    "title": "Their model",
    "description": "A base model of the hub, described by JSON alone.",
    "source": {"hub": "their-org/their-model", "revision": "0" * 40},
    "family": "theirs",
    "chat_template": "theirs.jinja",
    "turn_end_tokens": ["<|im_end|>"],
    "architectures": ["Qwen3ForCausalLM"],
    "parameters": 576832,
    "context_tokens": 512,
}

TASK = {
    "name": "their-plus",
    "title": "Plus",
    "description": "Sums of small numbers, run by lm-eval.",
    "metric": "exact_match",
    "n_samples": 6,
    "max_tokens": 8,
    "data": [{"name": "test", "source": {"packaged": "plus.jsonl"}}],
    "lm_eval": {
        "config": {
            "output_type": "generate_until",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": "{data:test}"}},
            "test_split": "test",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 8, "do_sample": False},
            "filter_list": [
                {
                    "name": "number",
                    "filter": [
                        {"function": "regex", "regex_pattern": "(\\d+)"},
                        {"function": "take_first"},
                    ],
                }
            ],
            "metric_list": [
                {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
            ],
        }
    },
}

SUMS = [(2, 3), (4, 9), (5, 5), (3, 6), (8, 8), (2, 7)]
QUESTION = "{} pots and {} pots. How many pots in all?"
"""A form that the quick start's base model knows from its pre-training text."""


def distribution(folder: Path, name: str, files: dict[str, str]) -> Path:
    package = name.replace("-", "_")
    for path, text in files.items():
        target = folder / name / package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    (folder / name / "pyproject.toml").write_text(PYPROJECT.format(name=name, package=package))
    assert list(folder.rglob("*.py")) == []
    return folder / name


@pytest.fixture(scope="module")
def installed(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both distributions installed; returns a folder with a mirror of the hub."""
    folder = tmp_path_factory.mktemp("without-code")
    embedded = ROOT / "embedded" / "models"
    template = (embedded / "tiny-qwen3.jinja").read_text("utf-8")
    rows = [{"question": QUESTION.format(a, b), "answer": str(a + b)} for a, b in SUMS]
    model = {"models/their-model.json": json.dumps(MODEL), "models/theirs.jinja": template}
    task = {
        "tasks/their-plus.json": json.dumps(TASK),
        "tasks/plus.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }
    environment.install(
        distribution(folder, "their-models", model), distribution(folder, "their-tasks", task)
    )
    mirrored = folder / "mirror" / "their-org" / "their-model"
    shutil.copytree(embedded / "tiny-qwen3", mirrored)
    return folder


def test_both_are_listed_with_their_distributions(
    environment: Environment, installed: Path
) -> None:
    rows = {row["name"]: row for row in json.loads(environment.ptb("list", "--json"))}
    assert rows["their-model"]["distribution"] == "their-models"
    assert rows["their-plus"]["distribution"] == "their-tasks"
    assert rows["their-model"]["usable"]
    assert rows["their-plus"]["usable"]


@pytest.fixture(scope="module")
def finished_run(environment: Environment, installed: Path) -> Path:
    plan = {
        "name": "without-code",
        "tasks": ["their-plus"],
        "models": ["their-model"],
        "agents": [{"name": "null", "scaffold": "null"}],
        "condition": {"hours": 0.05, "gpus": 0, "network": "open", "dev_evaluation": "none"},
        "sandbox": {"name": "local"},
        "engine": {"name": "transformers", "settings": {"threads": 1}},
        "executor": {"name": "local", "settings": {"max_cells": 2}},
        "judges": [{"name": "lineage"}],
        "protocol": "strict",
    }
    (installed / "plan.json").write_text(json.dumps(plan))
    mirror = str(installed / "mirror")
    environment.ptb("prefetch", "plan.json", "--mirror", mirror, cwd=installed)
    environment.run(
        *("ptb", "run", "--plan", "plan.json", "--run-dir", "run"),
        cwd=installed,
        PTB_OFFLINE="1",
        PTB_MIRROR=mirror,
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
    )
    return installed / "run"


def test_they_run_end_to_end_offline(finished_run: Path) -> None:
    cells = finished_run / "cells"
    base, null = (
        json.loads((cells / f"their-plus--their-model--{name}" / "record.json").read_text("utf-8"))
        for name in ("base", "null--r1")
    )
    assert (base["counts"], null["counts"]) == ("own", "own")
    assert null["evaluation"]["n_scored"] == len(SUMS)
    assert null["evaluation"]["scores"] == base["evaluation"]["scores"]
    assert base["evaluation"]["scores"]["repaired"]["value"] > 0
    components = null["lock"]["components"]
    assert components["model/their-model"]["distribution"] == "their-models"
    assert components["task/their-plus"]["distribution"] == "their-tasks"
