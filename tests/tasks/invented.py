"""Invented rows of the exact tasks, in the form of the hub's records, and their samples."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptb_core.api import (
    Completion,
    DataDir,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskSpec,
    ToolCall,
    data_dir,
    load_manifest,
)
from ptb_plugins.tasks.aime2025.task import Aime2025
from ptb_plugins.tasks.bfcl.task import Bfcl
from ptb_plugins.tasks.gpqamain.task import GpqaMain

GPQA_TEMPLATE = "End with 'ANSWER: $LETTER', one of {letters}.\n\n{question}\n\n{choices}"
AIME_TEMPLATE = "Solve it. Use no \\boxed{} command.\n\n{prompt}"

AIME_ROWS: list[dict[str, Any]] = [
    {"id": "0", "problem": "What is {prompt} of $1+1$?", "answer": "2"},
    {"id": "1", "problem": "What is $50-1$, in three digits?", "answer": "049"},
    {"id": "2", "problem": "How many degrees has a circle, less 24?", "answer": "336^\\circ"},
]
GPQA_ROWS: list[dict[str, Any]] = [
    {
        "Record ID": f"rec{number}",
        "Question": f"What is {number} and {{choices}} one?",
        "Correct Answer": f"right {number}",
        "Incorrect Answer 1": "wrong\nin two lines",
        "Incorrect Answer 2": "wrong {question}",
        "Incorrect Answer 3": "wrong 3",
    }
    for number in range(3)
]


def bfcl_row(number: int, truth: str, **changes: Any) -> dict[str, Any]:
    """Return a record about sorting, with an optional parameter that has a default."""
    function = {
        "name": "sort_numbers",
        "description": "Sorts numbers.",
        "parameters": {
            "type": "dict",
            "properties": {
                "numbers": {
                    "type": "tuple",
                    "items": {"type": "float", "description": None},
                    "description": "The numbers.",
                },
                "reverse": {"type": "boolean", "description": "Downwards.", "default": False},
                "note": {"type": "string", "description": "A note.", "default": None},
            },
            "required": ["numbers"],
        },
    }
    return {
        "id": f"exec_simple_{number}",
        "question": [[{"role": "user", "content": f"Sort list {number}."}]],
        "function": [function],
        "ground_truth": [truth],
        **changes,
    }


BFCL_ROWS = [
    bfcl_row(0, "sort_numbers(numbers=[3, 1.5])"),
    bfcl_row(1, "sort_numbers(numbers=(2, 1), reverse=False)"),
    bfcl_row(2, "sort_numbers(numbers=[1, 2], reverse=True, note='x')"),
]


def facts(name: str) -> TaskSpec:
    """Return the facts of a built-in task."""
    return load_manifest(data_dir() / "registry" / "tasks" / f"{name}.json", TaskSpec)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, under the columns of the first."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def aime_data(folder: Path, rows: Sequence[Mapping[str, Any]] = AIME_ROWS) -> DataDir:
    """Return the data of aime2025."""
    files = {"test": write_jsonl(folder / "aime.jsonl", rows)}
    return DataDir(files=files, prompts={"user": AIME_TEMPLATE})


def gpqa_data(folder: Path, rows: Sequence[Mapping[str, Any]] = GPQA_ROWS) -> DataDir:
    """Return the data of gpqamain, as the CSV file that the hub holds."""
    files = {"test": write_csv(folder / "gpqa.csv", rows)}
    return DataDir(files=files, prompts={"user": GPQA_TEMPLATE})


def bfcl_data(folder: Path, rows: Sequence[Mapping[str, Any]] = tuple(BFCL_ROWS)) -> DataDir:
    """Return the data of bfcl."""
    return DataDir(files={"test": write_jsonl(folder / "bfcl.jsonl", rows)})


AIME = Aime2025(facts("aime2025"))
GPQA = GpqaMain(facts("gpqamain"))
BFCL = Bfcl(facts("bfcl"))


def call(arguments: str | None, name: str | None = "sort_numbers") -> ToolCall:
    """Return a tool call as a server sends it."""
    return ToolCall(name=name, arguments=arguments)


def calling(*calls: ToolCall) -> Completion:
    """Return a completion that is nothing but tool calls."""
    return Completion(text=None, tool_calls=calls, finish_reason="tool_calls")


def both(task: Task, sample: Sample, completion: Completion | str) -> tuple[float, float]:
    """Return the value of a completion under published and repaired scoring."""
    published, repaired = (score(task, sample, completion, kind) for kind in _SCORINGS)
    return published.value, repaired.value


def score(
    task: Task, sample: Sample, completion: Completion | str, scoring: Scoring
) -> SampleScore:
    """Score a completion, or a text that is one."""
    if isinstance(completion, str):
        completion = Completion(text=completion)
    return task.score(sample, (completion,), scoring)


_SCORINGS: tuple[Scoring, Scoring] = ("published", "repaired")
