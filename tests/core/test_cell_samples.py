"""The samples of cells, from what their stages left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptb_core.cli.main import main
from ptb_core.data import data_dir
from ptb_core.evaluation.checking import CheckEntry, check_digest
from ptb_core.evaluation.checks import GraderCheck, GraderResult
from ptb_core.evaluation.completion_log import LogEntry
from ptb_core.evaluation.exchange import Completion
from ptb_core.run_folder import RunFolder
from ptb_plugins.tasks.errands.task import Errands

from .small_run import BASE, MINE, small_run, write_marker

DATA = data_dir() / "embedded" / "data" / "errands"
ROWS = [json.loads(text) for text in (DATA / "test.jsonl").read_text("utf-8").splitlines()]


def score_cell(folder: RunFolder, name: str, answers: list[str], **details: Any) -> Path:
    """Leave what prepare, generate and score leave of a cell."""
    cell = folder.cell(name)
    files = {"test": str(DATA / "test.jsonl"), "train": str(DATA / "train.jsonl")}
    prepared = {
        "base_model": "m", "model_revision": "r", "data_files": files, "prompts": {},
        "revisions": {},
    }  # fmt: skip
    write_marker(cell.marker("prepare"), "prepare", prepared)
    log = cell.stage("generate") / "completions.jsonl"
    log.parent.mkdir(parents=True)
    rows = list(zip(ROWS, answers, strict=False))
    entries = [
        LogEntry(
            id=row["id"], epoch=1, call=0, calls=1, request="x",
            completion=Completion(text=text, completion_tokens=2),
        )
        for row, text in reversed(rows)
    ]  # fmt: skip
    log.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    write_marker(cell.marker("generate"), "generate", {"state": "done", "completions": str(log)})
    attempt = cell.attempt("score", 1)
    attempt.mkdir(parents=True)
    scores = [
        {"scoring": scoring, "id": row["id"], "value": float(row["answer"] in text), "answer": text}
        for scoring in ("published", "repaired")
        for row, text in rows
    ]
    (attempt / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    evaluation = {
        "complete": not details, "n_expected": 3, "n_scored": 3, "scores": {},
        "counted": "repaired", "details": details,
    }  # fmt: skip
    write_marker(cell.marker("score"), "score", {"evaluation": evaluation})
    return cell.path


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return small_run(tmp_path, protocol={"base": "strict", "limit": 3})


@pytest.fixture
def right() -> list[str]:
    return [row["answer"] for row in ROWS[:3]]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    assert main(["samples", *map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_cells_samples_hold_question_answer_and_score_in_the_tasks_order(
    run: RunFolder, right: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = score_cell(run, MINE, [right[0], "no", right[2]])
    found = shown(capsys, path)
    assert [line["id"] for line in found] == [row["id"] for row in ROWS[:3]]
    assert [line["scores"]["repaired"]["value"] for line in found] == [1, 0, 1]
    assert [line["counted"] for line in found] == ["repaired"] * 3
    second = found[1]
    assert ROWS[1]["question"] in second["requests"][0]["messages"][0]["content"]
    assert (second["target"], second["completions"][0]["text"]) == (ROWS[1]["answer"], "no")
    assert found == shown(capsys, run.path, MINE)


def test_a_run_shows_all_scored_cells_each_line_with_its_cell(
    run: RunFolder, right: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    score_cell(run, MINE, right)
    score_cell(run, BASE, ["", "", ""])
    found = shown(capsys, run.path, "--n", "4")
    assert [line["cell"] for line in found] == [BASE] * 3 + [MINE]
    assert main(["samples", str(run.path), "--wrong"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{BASE}  {ROWS[0]['id']}  repaired 0  published 0  2 tokens\n")


def test_a_run_is_read_cell_by_cell_and_no_further_than_needed(
    run: RunFolder, right: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    score_cell(run, BASE, right)
    damaged = score_cell(run, MINE, right)
    (damaged / "stages" / "generate" / "completions.jsonl").write_text("broken\nbroken\n")
    assert len(shown(capsys, run.path, "--n", "3")) == 3
    assert main(["samples", str(run.path)]) == 1
    assert "found damaged JSON" in capsys.readouterr().err


def test_why_a_sample_has_no_score_is_taken_from_the_evaluation(
    run: RunFolder, right: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    failures = {"repaired": {ROWS[2]["id"]: "no verdict"}, "published": {}}
    path = score_cell(run, MINE, right[:2], failures=failures)
    assert [line["failures"] for line in shown(capsys, path)] == [
        {},
        {},
        {"repaired": "no verdict"},
    ]


def test_results_of_checks_are_shown_the_latest_of_each(
    run: RunFolder,
    right: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = GraderCheck(name="verdict", messages=(), max_completion_tokens=5)
    monkeypatch.setattr(Errands, "checks", lambda *_: (check,))
    path = score_cell(run, MINE, right)
    for number, name in enumerate(("checks.jsonl", "checks-after-001.jsonl")):
        entry = CheckEntry(
            sample=ROWS[0]["id"],
            epoch=1,
            call=0,
            check=check_digest(check),
            result=GraderResult(text=f"reply {number}"),
        )
        log = path / "stages" / "score" / name
        log.write_bytes(msgspec.json.encode(entry) + b"\n")
        os.utime(log, (number, number))
    first, second, _ = shown(capsys, path)
    assert first["completions"][0]["checks"]["verdict"]["text"] == "reply 1"
    assert second["completions"][0]["checks"] == {}


def test_each_round_of_several_seeds_has_its_own_answers_checks_and_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = GraderCheck(name="verdict", messages=(), max_completion_tokens=5)
    monkeypatch.setattr(Errands, "checks", lambda *_: (check,))
    sampling = {"temperature": 0.5}
    protocol = {"base": "strict", "limit": 1, "seeds": [7, 9], "sampling": sampling}
    run = small_run(tmp_path, protocol=protocol)
    sample = ROWS[0]["id"]
    path = score_cell(run, MINE, [], failures={"repaired": {sample: "seed 9: no verdict"}})
    log = path / "stages" / "generate" / "completions.jsonl"
    entries = [
        LogEntry(
            id=sample, epoch=number, call=0, calls=1, request="x",
            completion=Completion(text=f"round {number}"),
        )
        for number in (1, 2)
    ]  # fmt: skip
    log.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    result = GraderResult(text="fine")
    entry = CheckEntry(sample=sample, epoch=1, call=0, check=check_digest(check), result=result)
    (path / "stages" / "score" / "checks.jsonl").write_bytes(msgspec.json.encode(entry) + b"\n")
    score = {"seed": 7, "scoring": "repaired", "id": sample, "value": 1.0}
    scores = path / "stages" / "score" / "attempt-001" / "samples.jsonl"
    scores.write_text(json.dumps(score) + "\n")
    first, second = shown(capsys, path)
    assert (first["seed"], second["seed"]) == (7, 9)
    assert first["completions"][0]["text"] == "round 1"
    assert second["completions"][0]["text"] == "round 2"
    assert list(first["completions"][0]["checks"]) == ["verdict"]
    assert second["completions"][0]["checks"] == {}
    assert (first["scores"]["repaired"]["value"], first["failures"]) == (1, {})
    assert (second["scores"], second["failures"]) == ({}, {"repaired": "seed 9: no verdict"})


def test_without_the_tasks_data_answers_and_scores_are_shown_and_the_rest_is_told(
    run: RunFolder, right: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = score_cell(run, MINE, right)
    (path / "stages" / "prepare" / "done.json").unlink()
    assert main(["samples", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert {line["id"] for line in found} == {row["id"] for row in ROWS[:3]}
    assert all(line["requests"] == [] and line["scores"] for line in found)
    assert (
        f"ptb: {MINE}: questions and right answers are left out: its stage prepare has no marker"
    ) in err


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ((), "has scored answers; `ptb status "),
        ((MINE,), f"cell {MINE} has no scored answers; `ptb status` shows how it stands"),
        (("errands--tiny-qwen3--min--r1",), "has no cell 'errands--tiny-qwen3--min--r1' (did you"),
    ],
)
def test_cells_without_answers_are_named(
    run: RunFolder, capsys: pytest.CaptureFixture[str], cells: tuple[str, ...], words: str
) -> None:
    assert main(["samples", str(run.path), *cells]) == 2
    assert words in capsys.readouterr().err
