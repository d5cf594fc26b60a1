"""The broker of a real run: its process, its grader, its budget."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ptb_core.broker.calls import read_calls
from ptb_core.broker.client import BrokerClient, BrokerError
from ptb_core.broker.keeper import brokered
from ptb_core.broker.process import context_of
from ptb_core.broker.runners import DEVELOPMENT_SHARE, runners_of
from ptb_core.broker.scoring import RefusedError
from ptb_core.evaluation.completion_log import LogEntry
from ptb_core.evaluation.exchange import Completion
from ptb_core.grading.ledger import Ledger
from ptb_core.grading.prices import TokenUse
from ptb_core.interfaces import Session
from ptb_core.run_folder import RunFolder
from ptb_core.stages.context import StageContext
from ptb_core.testing.grader import GraderAnswer, GraderQuestion, ScriptedGrader, saying
from tests.core.small_run import small_run, write_marker

from .conftest import lines

KEY = "sk-test-0123456789abcdef"
ROWS = [
    {"uid": f"w{i}", "category": "creative_writing", "prompt": f"Write about {i}."}
    for i in range(250)
]


def yes_to_candidate(question: GraderQuestion) -> GraderAnswer:
    return saying("[[A>B]]")


@pytest.fixture
def grader(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGrader]:
    monkeypatch.setenv("PTB_TEST_KEY", KEY)
    with ScriptedGrader(yes_to_candidate) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, grader: ScriptedGrader) -> RunFolder:
    """A run whose cell is about to be solved; its task is graded."""
    folder = small_run(
        tmp_path,
        tasks=["arenahardwriting"],
        grader={"base_url": grader.base_url, "api_key_env": "PTB_TEST_KEY"},
        budgets={"grader_usd": 8.0},
        prices={"grader": {"input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 1}},
    )
    files = {}
    opponents = [
        {"uid": r["uid"], "messages": [{"role": "assistant", "content": {"answer": "No."}}]}
        for r in ROWS
    ]
    for name, rows in (("test", ROWS), ("baseline", opponents)):
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    wording = tmp_path / "wording.txt"
    wording.write_text(
        "{question}|{answer_a}|{answer_b}|[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]", "utf-8"
    )
    files["judge-prompt"] = wording
    cell = folder.cell(mine(folder))
    prepared = {
        "base_model": str(tmp_path),
        "model_revision": "r",
        "data_files": {name: str(path) for name, path in files.items()},
        "prompts": {},
        "revisions": {},
    }
    write_marker(cell.marker("prepare"), "prepare", prepared)
    cell.attempt("solve", 1).mkdir(parents=True)
    return folder


def mine(folder: RunFolder) -> str:
    return next(cell.id for cell in folder.open().plan.cells if "--mine--" in cell.id)


@pytest.fixture
def context(run: RunFolder) -> StageContext:
    return context_of(run.path, mine(run), fence=1, attempt=1)


def test_the_grader_of_development_keeps_replies_and_costs_of_its_own(
    context: StageContext, tmp_path: Path
) -> None:
    grader = cast(Any, runners_of(context, tmp_path / "development").grader)
    place = grader._place
    assert place.replies == tmp_path / "development" / "graded"
    assert place.replies != context.folder.graded
    assert place.ledger == context.run_folder.grading
    assert place.scope == f"{context.cell.id} development"


def test_a_cells_part_of_the_budget_ends_its_grading_and_no_other(
    context: StageContext, tmp_path: Path
) -> None:
    """Half of 8 USD is for development, and two cells share it."""
    assert DEVELOPMENT_SHARE == 0.5

    def book(scope: str, usd: float) -> None:
        ledger = Ledger(context.run_folder.grading, scope, lambda: 0.0)
        ledger.book(TokenUse(input_tokens=1, output_tokens=1), usd)
        ledger.close()

    book(context.cell.id, 5.0)
    book("another development", 1.5)
    book(f"{context.cell.id} development", 1.9)
    assert runners_of(context, tmp_path).grader is not None
    book(f"{context.cell.id} development", 0.1)
    with pytest.raises(RefusedError) as caught:
        runners_of(context, tmp_path)
    assert str(caught.value) == (
        "this cell's part of the budget for grading during development is spent (2 of 2 USD)"
    )


def test_a_task_without_checks_has_no_runners(tmp_path: Path) -> None:
    folder = small_run(tmp_path)
    cell = "errands--tiny-qwen3--mine--r1"
    folder.cell(cell).attempt("solve", 1).mkdir(parents=True)
    runners = runners_of(context_of(folder.path, cell, fence=1, attempt=1), tmp_path)
    assert (runners.programs, runners.grader) == (None, None)


class PlacedSession:
    def __init__(self, path: Path) -> None:
        self.path = path

    def socket(self, name: str) -> tuple[Path, str]:
        return self.path, str(self.path)


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ptb-t-", dir="/tmp"))
    yield folder / "s"
    shutil.rmtree(folder)


def answered(folder: Path, ids: tuple[str, ...], text: str) -> Path:
    path = folder / "answers.jsonl"
    entries = [
        LogEntry(
            id=i, epoch=1, call=0, calls=1, request="", completion=Completion(text=f"{text} {i}")
        )
        for i in ids
    ]
    path.write_bytes(lines(entries))
    return path


@pytest.mark.slow
def test_a_graded_task_is_scored_by_the_brokers_process_which_alone_holds_the_key(
    context: StageContext, place: Path, tmp_path: Path, grader: ScriptedGrader
) -> None:
    session = cast(Session, PlacedSession(place))
    client = BrokerClient(place, patience_s=60)
    with brokered(context, session):
        ids = client.samples(3)
        score = client.score(3, answered(tmp_path, ids, "Once"), lambda *_: None)
    assert (score.value, score.n) == (0.5, 3)
    assert len(grader.questions) == 6
    assert {q.headers["authorization"] for q in grader.questions} == {f"Bearer {KEY}"}
    development = context.attempt_dir / "development"
    assert [e.event for e in read_calls(development / "calls.jsonl")] == ["asked", "scored"]
    assert (development / "broker.log").read_text() == ""
    assert not any(
        KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


@pytest.mark.slow
def test_a_later_supervisors_broker_goes_on_at_the_same_socket(
    context: StageContext, place: Path, tmp_path: Path, grader: ScriptedGrader
) -> None:
    """The agent's evaluate.py notices nothing but a wait; nothing is paid twice."""
    session = cast(Session, PlacedSession(place))
    client = BrokerClient(place, patience_s=60)
    with brokered(context, session):
        ids = client.samples(2)
        log = answered(tmp_path, ids, "Once")
        first = client.score(2, log, lambda *_: None)
    with pytest.raises(BrokerError, match="gives no answer"):
        BrokerClient(place, patience_s=0).samples(2)
    with brokered(replace(context, fence=2), session):
        assert client.score(2, log, lambda *_: None) == first
    assert len(grader.questions) == 4


@pytest.mark.slow
def test_a_broker_that_is_killed_is_started_again(
    context: StageContext, place: Path, tmp_path: Path
) -> None:
    client = BrokerClient(place, patience_s=60)
    with brokered(context, cast(Session, PlacedSession(place))) as look:
        client.samples(1)
        keeper = cast(Any, look).__self__
        os.kill(keeper._process.pid, 9)
        keeper._process.wait()
        look()
        keeper._again_s = 0.0
        look()
        assert client.samples(1)
    notes = context.folder.journal.read_text("utf-8")
    assert "the broker of the development evaluation ended with status -9" in notes


def test_a_context_is_that_of_the_supervisors_attempt(run: RunFolder) -> None:
    found = context_of(run.path, mine(run), fence=7, attempt=1)
    assert (found.fence, found.attempt) == (7, 1)
    assert found.attempt_dir == run.cell(mine(run)).attempt("solve", 1)
