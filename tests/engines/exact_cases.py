"""Two samples of each exact task with answers, of which the first is right and the second wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiny_models import Lesson

from ptb_core.api import ChatRequest, DataDir, Sample, Task
from ptb_core.catalogue import load_catalogue
from tests.tasks.invented import aime_data, bfcl_data, gpqa_data, write_jsonl

GSM8K_ROWS = (
    {"question": "What is 3 plus 4?", "answer": "3+4=7\n#### 7"},
    {"question": "What is 5 plus 9?", "answer": "5+9=14\n#### 14"},
)
HUMANEVAL_ROWS = tuple(
    {
        "task_id": f"Own/{name}",
        "prompt": f'def {name}(a, b):\n    """Return {name} of a and b."""\n',
        "entry_point": name,
        "test": f"def check(f):\n    assert f(7, 2) == {result}\n",
        "canonical_solution": "    pass\n",
    }
    for name, result in (("add", 9), ("sub", 5))
)
TRAIN_ROWS = 7473
"""Of gsm8k's train split, which the task wants whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How a task is given rows of ours."""

    data: Callable[[Path], DataDir]
    answers: Callable[[Sequence[Sample]], tuple[str, str]]


def gsm8k_data(folder: Path) -> DataDir:
    train = [{"question": f"Q{i}?", "answer": f"{i}\n#### {i}"} for i in range(TRAIN_ROWS)]
    files = {
        "test": write_jsonl(folder / "gsm8k-test.jsonl", GSM8K_ROWS),
        "train": write_jsonl(folder / "gsm8k-train.jsonl", train),
    }
    return DataDir(files=files, prompts={"user": "Solve {prompt} as ANSWER: number"})


def humaneval_data(folder: Path) -> DataDir:
    files = {"test": write_jsonl(folder / "humaneval.jsonl", HUMANEVAL_ROWS)}
    return DataDir(files=files, prompts={"user": "Finish it.\n"})


def code(name: str, operator: str) -> str:
    return f"```python\ndef {name}(a, b):\n    return a {operator} b\n```"


def sorting(numbers: Sequence[float], **more: object) -> str:
    call = {"name": "sort_numbers", "arguments": {"numbers": numbers, **more}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


CASES: Mapping[str, Case] = {
    "aime2025": Case(data=aime_data, answers=lambda _: ("It is 2", "It is 50")),
    "bfcl": Case(data=bfcl_data, answers=lambda _: (sorting([3, 1.5]), sorting([2, 2]))),
    "gpqamain": Case(
        data=gpqa_data,
        answers=lambda samples: (f"ANSWER: {samples[0].target}", "ANSWER: E"),
    ),
    "gsm8k": Case(data=gsm8k_data, answers=lambda _: ("ANSWER: 7", "ANSWER: 15")),
    "humaneval": Case(data=humaneval_data, answers=lambda _: (code("add", "+"), code("sub", "*"))),
}


def samples(name: str, folder: Path) -> tuple[Task, Sequence[Sample]]:
    """Return a task and its two samples."""
    task = load_catalogue().task(name)
    return task, task.samples(CASES[name].data(folder))[:2]


def lessons(folder: Path) -> list[Lesson]:
    """Return the answers of all tasks as lessons."""
    made = []
    for name, case in CASES.items():
        task, asked = samples(name, folder)
        for sample, answer in zip(asked, case.answers(asked), strict=True):
            (request,) = task.requests(sample, "seeded")
            assert isinstance(request, ChatRequest)
            made.append(Lesson(messages=request.messages, tools=request.tools, answer=answer))
    return made
