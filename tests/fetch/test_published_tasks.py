"""All seven published tasks come from a mirror folder, and are all there afterwards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.prefetch import command
from ptb_core.evaluation.samples import samples_of
from ptb_core.fetch import ensure_data

TASKS = (
    "aime2025",
    "arenahardwriting",
    "bfcl",
    "gpqamain",
    "gsm8k",
    "healthbench",
    "humaneval",
)
COPIES = {
    "gsm8k-test": "gsm8k-test",
    "gsm8k-train": "gsm8k-train",
    "humaneval-test": "humaneval",
    "healthbench-test": "healthbench-easy",
    "arenahardwriting-test": "arena-hard-writing-question",
    "arenahardwriting-baseline": "arena-hard-writing-baseline-qwen3-1.7b",
}


def write(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def mirror(tmp_path: Path, test_data: Path) -> Path:
    """The real rows; of AIME and GPQA, which are not here, invented ones of the real number."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    data = test_data / "data"
    for name, copy in COPIES.items():
        (folder / f"{name}.jsonl.gz").symlink_to(data / f"{copy}.jsonl.gz")
    answers = {row["id"]: row for row in read(data / "bfcl-exec-simple-answer.jsonl.gz")}
    questions = read(data / "bfcl-exec-simple-question.jsonl.gz")
    write(folder / "bfcl-test.jsonl", [{**row, **answers[row["id"]]} for row in questions])
    aime = [{"id": str(n), "problem": f"What is {n}?", "answer": str(n)} for n in range(30)]
    write(folder / "aime2025-test.jsonl", aime)
    wrong = {f"Incorrect Answer {n}": f"no {n}" for n in (1, 2, 3)}
    gpqa = [
        {"Record ID": f"rec{n}", "Question": f"Why {n}?", "Correct Answer": "yes", **wrong}
        for n in range(448)
    ]
    write(folder / "gpqamain-test.jsonl", gpqa)
    return folder


def prefetch(*arguments: object) -> Result:
    named = [word for task in TASKS for word in ("--task", task)]
    return CliRunner().invoke(command, [*named, *map(str, arguments)])


@pytest.mark.network
def test_all_published_tasks_come_from_a_mirror_and_are_then_there(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_CACHE", str(tmp_path / "cache"))
    fetched = prefetch("--mirror", mirror)
    assert fetched.exit_code == 0, fetched.output
    there = prefetch("--offline-check", "--json")
    assert there.exit_code == 0, there.output
    items = {item["name"]: item for item in json.loads(there.output)["items"]}
    assert {name: item["state"] for name, item in items.items()} == dict.fromkeys(TASKS, "there")
    assert items["healthbench"]["revisions"]["grader"].startswith("inspect-evals==")
    for name in TASKS:
        task = load_catalogue().task(name)
        data = ensure_data(task.spec, offline=True)
        assert len(samples_of(task, data)) == task.spec.n_samples


def test_a_mirror_with_a_row_less_is_named_with_both_numbers(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_CACHE", str(tmp_path / "cache"))
    path = mirror / "bfcl-test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    done = CliRunner().invoke(
        command, ["--task", "bfcl", "--mirror", str(mirror), "--offline-check"]
    )
    assert done.exit_code == 1
    assert "bfcl: its data hold 99 samples, expected 100, the n_samples of its manifest" in (
        done.output
    )
    assert path.name in done.output
