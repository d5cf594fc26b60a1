from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import DataDir, DataFile, FileSource, PromptText, TaskSpec, data_dir
from ptb_plugins.tasks.arenahardwriting.task import ArenaHardWriting
from ptb_plugins.tasks.errands.task import Errands
from ptb_plugins.tasks.gsm8k.task import Gsm8k
from ptb_plugins.tasks.healthbench.task import HealthBench

TEMPLATE = "Question: {prompt}\nAnswer it."
GRADER_TEMPLATE = "Read\n<<conversation>>\nand judge\n<<rubric_item>>\nnow."
SHIPPED = data_dir() / "registry" / "prompts" / "arenahardwriting-judge.txt"
QUESTIONS: list[dict[str, Any]] = [
    {"uid": "one", "category": "creative_writing", "prompt": "A poem about {answer_a}."},
    {"uid": "two", "category": "creative_writing", "prompt": "A sonnet."},
    {"uid": "three", "category": "creative_writing", "prompt": "A limerick."},
]
OPPONENTS: list[dict[str, Any]] = [
    {
        "uid": row["uid"],
        "messages": [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": {"answer": f"Opponent's {row['uid']}"}},
        ],
    }
    for row in QUESTIONS[::-1]
]


def health_row(name: str, theme: str, *rubrics: tuple[str, float, str]) -> dict[str, Any]:
    return {
        "prompt_id": name,
        "prompt": [
            {"role": "user", "content": f"My knee hurts, {name}."},
            {"role": "assistant", "content": "Since when?"},
            {"role": "user", "content": "Since Monday."},
        ],
        "rubrics": [
            {"criterion": text, "points": points, "tags": ["level:example", f"axis:{axis}"]}
            for text, points, axis in rubrics
        ],
        "example_tags": ["physician_agreed_category:x", f"theme:{theme}"],
        "ideal_completions_data": {"ideal_completion": f"Rest it, {name}."},
        "canary": "healthbench:0",
    }


HEALTH_ROWS = [
    health_row(
        "one",
        "hedging",
        ("Says to rest.", 7, "accuracy"),
        ("Is rude.", -8, "communication_quality"),
        ("Asks about swelling.", 3, "accuracy"),
    ),
    health_row(
        "two",
        "hedging",
        ("Names a doctor.", 5, "completeness"),
        ("Lies.", -10, "accuracy"),
    ),
    health_row("three", "global_health", ("Is brief.", 4, "communication_quality")),
]


def task_spec(name: str, *data: str) -> TaskSpec:
    return TaskSpec(
        name=name,
        title=name,
        description=name,
        metric="accuracy",
        n_samples=3,
        max_tokens=100,
        data=tuple(DataFile(name=item, source=FileSource(packaged=item)) for item in data),
        prompts=(
            PromptText(
                name="wording",
                package="package",
                versions=("1",),
                module="module",
                symbol="TEXT",
                sha256="0" * 10,
            ),
        ),
    )


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def gsm8k() -> Gsm8k:
    return Gsm8k(task_spec("gsm8k", "test", "train"))


@pytest.fixture
def gsm8k_data(tmp_path: Path) -> DataDir:
    test = [
        {"question": "How many are 1 and 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"},
        {"question": "How many thousands?", "answer": "It is 2 and more.\n#### 2,125"},
        {"question": "What is {prompt}?", "answer": "It is less.\n#### -3"},
    ]
    train = [{"question": f"Train {i}?", "answer": f"So {i}.\n#### {i}"} for i in range(6331)]
    return DataDir(
        files={
            "test": write_rows(tmp_path / "test.jsonl", test),
            "train": write_rows(tmp_path / "train.jsonl.gz", train),
        },
        prompts={"wording": TEMPLATE},
    )


@pytest.fixture
def errands() -> Errands:
    return Errands(task_spec("errands", "test", "train"))


@pytest.fixture
def arena() -> ArenaHardWriting:
    return ArenaHardWriting(task_spec("arenahardwriting", "test", "baseline", "judge-prompt"))


@pytest.fixture
def arena_data(tmp_path: Path) -> DataDir:
    return DataDir(
        files={
            "test": write_rows(tmp_path / "test.jsonl", QUESTIONS),
            "baseline": write_rows(tmp_path / "baseline.jsonl", OPPONENTS),
            "judge-prompt": SHIPPED,
        }
    )


@pytest.fixture
def healthbench() -> HealthBench:
    return HealthBench(task_spec("healthbench", "test"))


@pytest.fixture
def health_data(tmp_path: Path) -> DataDir:
    files = {"test": write_rows(tmp_path / "test.jsonl", HEALTH_ROWS)}
    return DataDir(files=files, prompts={"grader": GRADER_TEMPLATE})
