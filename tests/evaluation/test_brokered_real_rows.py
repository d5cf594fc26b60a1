"""Workspaces of the published tasks under a broker, laid from real rows: questions, no answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_development_outside import lay

from ptb_core.catalogue import load_catalogue
from ptb_core.evaluation.exchange import DataDir
from ptb_core.evaluation.laid_questions import laid_names, lines_of, read_questions
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.evaluation.questions import GenerateOptions, SampleRequests, questions
from ptb_core.evaluation.rounds import options_of, rounds_of
from ptb_core.evaluation.samples import samples_after, samples_of
from ptb_core.fetch import ensure_data
from ptb_core.interfaces import Task
from ptb_core.specs import JsonValue, RequestKind, Sampling

Rows = list[dict[str, Any]]
Secrets = Callable[[Path], Iterator[str]]


def read(path: Path) -> Rows:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def gsm8k(folder: Path) -> Iterator[str]:
    for row in read(folder / "gsm8k-test.jsonl.gz"):
        yield row["answer"]


def bfcl(folder: Path) -> Iterator[str]:
    for row in read(folder / "bfcl-exec-simple-answer.jsonl.gz"):
        yield row["ground_truth"][0]


def humaneval(folder: Path) -> Iterator[str]:
    for row in read(folder / "humaneval.jsonl.gz"):
        yield row["test"]
        if len(row["canonical_solution"]) > 80:  # shorter ones may stand in a docstring
            yield row["canonical_solution"]


def healthbench(folder: Path) -> Iterator[str]:
    for row in read(folder / "healthbench-easy.jsonl.gz"):
        for rubric in row["rubrics"]:
            yield rubric["criterion"]


def arenahardwriting(folder: Path) -> Iterator[str]:
    for row in read(folder / "arena-hard-writing-baseline-qwen3-1.7b.jsonl.gz"):
        yield row["messages"][-1]["content"]["answer"]


FILES = {
    gsm8k: {"test": "gsm8k-test", "train": "gsm8k-train"},
    bfcl: {"test": "bfcl"},
    humaneval: {"test": "humaneval"},
    healthbench: {"test": "healthbench-easy"},
    arenahardwriting: {
        "test": "arena-hard-writing-question",
        "baseline": "arena-hard-writing-baseline-qwen3-1.7b",
    },
}


def data_of(task: Task, secrets: Secrets, test_data: Path, tmp_path: Path) -> DataDir:
    folder = test_data / "data"
    files = {n: folder / f"{f}.jsonl.gz" for n, f in FILES[secrets].items()}
    if secrets is bfcl:
        answers = {row["id"]: row for row in read(folder / "bfcl-exec-simple-answer.jsonl.gz")}
        rows = read(folder / "bfcl-exec-simple-question.jsonl.gz")
        files["test"] = tmp_path / "bfcl.jsonl"
        files["test"].write_text(
            "".join(json.dumps({**row, **answers[row["id"]]}) + "\n" for row in rows), "utf-8"
        )
    if secrets is arenahardwriting:
        files["judge-prompt"] = tmp_path / "wording.txt"
        files["judge-prompt"].write_text(
            "{question}|{answer_a}|{answer_b}|[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]", "utf-8"
        )
    wordings = {"user": "Q: {prompt}", "grader": "<<conversation>> <<rubric_item>>"}
    named = {prompt.name: wordings[prompt.name] for prompt in task.spec.prompts}
    return DataDir(files=files, prompts=named)


def strings(value: JsonValue) -> Iterator[str]:
    """Yield every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def texts_in(folder: Path) -> Iterator[str]:
    """Yield every string in every file of a folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for line in path.read_text("utf-8").split("\n"):
            yield from strings(json.loads(line)) if path.suffix == ".jsonl" and line else [line]


@pytest.mark.parametrize("secrets", FILES, ids=lambda secrets: secrets.__name__)
def test_a_brokered_workspace_asks_the_same_and_holds_no_answer(
    secrets: Secrets, test_data: Path, tmp_path: Path
) -> None:
    task = load_catalogue().task(secrets.__name__)
    data = data_of(task, secrets, test_data, tmp_path)
    kinds: tuple[tuple[str, RequestKind], ...] = (("paper-v1", "published"), ("strict", "seeded"))
    for protocol, kind in kinds:
        folder = lay(tmp_path / kind, task, data, "brokered", protocol)
        laid = read_questions(folder / "evaluation" / "questions.jsonl")
        asked = [
            SampleRequests(id=s.id, requests=task.requests(s, kind)) for s in task.samples(data)
        ]
        options = GenerateOptions(requests=kind, max_tokens=task.spec.max_tokens)
        names = laid_names(task.samples(data))
        again = questions([laid[names[sample.id]] for sample in asked], options)
        assert [q.digest for q in again] == [q.digest for q in questions(asked, options)]
        held = "\n".join(dict.fromkeys(texts_in(folder)))
        sought = list(secrets(test_data / "data"))
        assert len(sought) >= task.spec.n_samples
        assert [secret for secret in sought if secret in held] == []


@pytest.mark.parametrize("secrets", FILES, ids=lambda secrets: secrets.__name__)
def test_what_follows_a_limit_completes_the_task_except_in_the_arena(
    secrets: Secrets, test_data: Path, tmp_path: Path
) -> None:
    """The arena is shuffled under a limit only, so that nothing follows there."""
    task = load_catalogue().task(secrets.__name__)
    data = data_of(task, secrets, test_data, tmp_path)
    chosen, every = samples_of(task, data, 5), samples_of(task, data)
    following = samples_after(task, data, chosen)
    if secrets is arenahardwriting:
        assert following == ()
    else:
        assert [*chosen, *following] == list(every)
    assert samples_after(task, data, every) == ()


def test_no_id_that_gives_an_answer_away_stands_in_a_brokered_workspace(tmp_path: Path) -> None:
    """The order of GPQA's choices follows from the record's id, by a function that is public."""
    task = load_catalogue().task("gpqamain")
    rows = [
        {
            "Record ID": f"rec{n:04}zz",
            "Question": f"Why {n}?",
            "Correct Answer": f"yes {n}",
            **{f"Incorrect Answer {k}": f"no {k} {n}" for k in (1, 2, 3)},
        }
        for n in range(448)
    ]
    path = tmp_path / "gpqa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    data = DataDir(
        files={"test": path},
        prompts={p.name: "{letters} {question} {choices}" for p in task.spec.prompts},
    )
    folder = lay(tmp_path / "w", task, data, "brokered")
    held = "".join(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())
    assert "Why 447?" in held
    assert not any(row["Record ID"] in held for row in rows)


def test_requests_under_a_stand_in_for_the_id_have_the_seeds_of_the_id(tmp_path: Path) -> None:
    task = load_catalogue().task("errands")
    data = ensure_data(task.spec, offline=True)
    protocol = replace(
        PROTOCOLS["strict"], seeds=(72332, 87681), sampling=Sampling(temperature=0.7)
    )
    path = tmp_path / "questions.jsonl"
    path.write_text(lines_of(task, data, protocol), "utf-8")
    laid = list(read_questions(path).values())
    asked = [
        SampleRequests(id=s.id, requests=task.requests(s, "seeded")) for s in task.samples(data)
    ]
    for one in rounds_of(protocol):
        plain = GenerateOptions(requests="seeded", max_tokens=8, sampling=protocol.sampling)
        options = options_of(one, plain)
        own = [question.body for question in questions(laid, options)]
        assert own == [question.body for question in questions(asked, options)]
        assert len({body["seed"] for body in own}) == len(own)
