"""A run's grader: where its replies and costs lie, and which terms are in force."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.errors import DataError, InputFileError, RecordError, UsageError
from ptb_core.evaluation.checks import GraderResult
from ptb_core.evaluation.exchange import Completion, DataDir
from ptb_core.evaluation.runners import require_key
from ptb_core.grading.grader import OpenAiGrader
from ptb_core.grading.opening import grader_of, open_grader, read_terms
from ptb_core.grading.prices import known_price
from ptb_core.grading.terms import GraderTerms, set_terms, terms_in_force, terms_of
from ptb_core.plan.model import Budgets
from ptb_core.run_folder import RunFolder
from ptb_core.specs import GraderSpec, TokenPrice
from ptb_core.stages import prepare as prepare_stage
from ptb_core.stages.context import StageContext
from ptb_core.stages.prepare import with_plans_wording
from ptb_core.testing.grader import ScriptedGrader, in_turn, saying

from ..core.small_run import small_run, write_marker
from .conftest import anything, check

CELL = "healthbench--tiny-qwen3--base"
FREE = {"input_usd_per_million_tokens": 0, "output_usd_per_million_tokens": 0}


def graded_run(tmp_path: Path, **grader: Any) -> RunFolder:
    return small_run(
        tmp_path,
        tasks=["healthbench", "arenahardwriting", "errands"],
        grader={"api_key_env": None, **grader},
        prices={"grader": FREE},
    )


def context(folder: RunFolder, cell_id: str = CELL) -> StageContext:
    prepared = {
        "base_model": str(folder.path),
        "model_revision": "r",
        "data_files": {},
        "prompts": {"grader": "Be fair.", "shots": "x"},
        "revisions": {},
    }
    run = folder.open()
    cell = folder.cell(cell_id)
    write_marker(cell.marker("prepare"), "prepare", prepared)
    return StageContext(
        run=run,
        run_folder=folder,
        folder=cell,
        cell=run.cell(cell_id),
        catalogue=load_catalogue(),
        fence=1,
        attempt=1,
        attempt_dir=cell.path,
        check_claim=lambda: None,
        stopping=threading.Event(),
    )


def ask(grader: OpenAiGrader | None) -> GraderResult:
    assert grader is not None

    async def put() -> GraderResult:
        async with grader:
            return await grader.ask(check(), anything)

    return asyncio.run(put())


def test_a_cells_grader_keeps_replies_in_the_cell_and_books_costs_for_the_run(tmp_path):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        folder = graded_run(tmp_path, base_url=server.base_url)
        grader = grader_of(context(folder))
        assert ask(grader) == ask(grader_of(context(folder))) == GraderResult(text="yes")
    assert len(server.questions) == 1
    assert len(list(folder.cell(CELL).graded.glob("*.jsonl"))) == 1
    (booked,) = folder.grading.glob("*.jsonl")
    assert f'"scope":"{CELL}"'.encode() in booked.read_bytes()
    assert grader is not None
    assert grader.facts()["prompts"] == {"grader": hashlib.sha256(b"Be fair.").hexdigest()}
    assert grader.facts()["scope"]["usd"] == 0


def test_a_cell_whose_task_is_not_graded_has_no_grader(tmp_path):
    here = context(graded_run(tmp_path), "errands--tiny-qwen3--base")
    assert grader_of(here) is None


def test_a_grader_of_a_folder_of_ones_own_keeps_everything_there(tmp_path):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        terms = GraderTerms(grader=GraderSpec(base_url=server.base_url, api_key_env=None))
        for _ in range(2):
            ask(open_grader(terms, tmp_path / "mine", scope="essays"))
    assert len(server.questions) == 1
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["graded", "grading"]


def test_the_terms_of_an_evaluation_without_a_plan_are_checked_like_a_plans(tmp_path, monkeypatch):
    (tmp_path / "judge.txt").write_text("Be kind.", "utf-8")
    given = {
        "grader": {"api_key_env": None, "prompts": {"essays": "judge.txt"}},
        "budgets": {"grader_usd": 2},
    }
    terms = read_terms("essays", given, tmp_path, "--grader")
    assert terms.grader == GraderSpec(api_key_env=None, prompts={"essays": "Be kind."})
    assert (terms.price, terms.budget_usd) == (known_price(GraderSpec()), 2)
    wrong = {"grader": {"base_url": "x"}, "budgets": {"grader_usd": 2}}
    with pytest.raises(InputFileError, match="--grader: 3 faults"):
        read_terms("essays", wrong, tmp_path, "--grader")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match=r"OPENAI_API_KEY, which is not set; "):
        require_key(read_terms("essays", {}, tmp_path, "--grader"), of_a_plan=False)


# Terms ----------------------------------------------------------------------------------------


def test_the_terms_of_the_last_run_command_are_in_force(tmp_path):
    folder = graded_run(tmp_path)
    run = folder.open()
    assert run.plan.grader is not None
    assert terms_in_force(folder, run) == terms_of(run.plan)
    set_terms(folder, run, run.plan)
    assert not folder.grader.exists()
    richer = replace(run.plan, budgets=Budgets(grader_usd=9))
    set_terms(folder, run, richer)
    assert terms_in_force(folder, run) == terms_of(richer)
    set_terms(folder, run, run.plan)
    assert terms_in_force(folder, run) == terms_of(run.plan)


def test_a_run_without_graded_tasks_has_no_terms(tmp_path):
    folder = small_run(tmp_path)
    run = folder.open()
    set_terms(folder, run, run.plan)
    assert terms_in_force(folder, run) is None
    assert not folder.grader.exists()


def test_damaged_terms_are_told_with_their_file_and_what_to_do(tmp_path):
    folder = graded_run(tmp_path)
    folder.grader.write_text("{", "utf-8")
    with pytest.raises(
        RecordError,
        match=r"grader\.json is damaged \(.*\), so nothing is graded; delete it and run `ptb run` ",
    ):
        grader_of(context(folder))


def test_a_budget_can_be_raised_for_a_run_folder_that_exists(tmp_path, monkeypatch):
    monkeypatch.setattr("ptb_core.driver.refuse_obstacles", lambda plan: None)
    monkeypatch.setattr("ptb_core.driver.drive", lambda *_: True)
    folder = graded_run(tmp_path)
    plan = tmp_path / "plan.json"
    text = plan.read_text("utf-8")
    plan.write_text(text.replace('"prices"', '"budgets": {"grader_usd": 7}, "prices"'), "utf-8")
    arguments = ["run", "--plan", str(plan), "--run-dir", str(folder.path), "--ignore-disk"]
    assert main(arguments) in (0, 1)
    terms = terms_in_force(folder, folder.open())
    assert terms is not None
    assert terms.budget_usd == 7
    assert terms.price == TokenPrice(
        input_usd_per_million_tokens=0, output_usd_per_million_tokens=0
    )
    plan.write_text(text.replace('"api_key_env"', '"model": "m", "api_key_env"'), "utf-8")
    assert main(arguments) == 2


# The plan's wording ---------------------------------------------------------------------------


def test_the_plans_wording_takes_the_place_of_the_tasks_own():
    data = DataDir(files={}, prompts={"grader": "own", "shots": "x"}, revisions={"shots": "v1"})
    spec = GraderSpec(prompts={"essays": "plan's"})
    worded = with_plans_wording(data, spec, "essays")
    assert worded.prompts == {"grader": "plan's", "shots": "x"}
    sha256 = hashlib.sha256(b"plan's").hexdigest()
    assert worded.revisions == {"shots": "v1", "grader": f"the plan's, sha256 {sha256[:12]}"}
    assert with_plans_wording(data, spec, "other") is data
    assert with_plans_wording(data, None, "essays") is data


JUDGE = "Q {question} A {answer_a} B {answer_b}: [[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]"


def arena_data(folder: Path) -> DataDir:
    """Return data of one question."""
    question = {"uid": "u", "category": "creative_writing", "prompt": "Write."}
    messages = [{"role": "assistant", "content": {"answer": "theirs"}}]
    rows = {"test": question, "baseline": {"uid": "u", "messages": messages}}
    for name, row in rows.items():
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    (folder / "own.txt").write_text(JUDGE.replace("Q ", "Question: "), "utf-8")
    files = {name: folder / f"{name}.jsonl" for name in rows}
    return DataDir(files={**files, "judge-prompt": folder / "own.txt"})


def arena_cell(folder: Path, wording: str, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    """Return a cell of a plan with its own wording, whose model and data are there."""
    (folder / "judge.txt").write_text(wording, "utf-8")
    run_folder = graded_run(folder, prompts={"arenahardwriting": "judge.txt"})
    model = type("Files", (), {"path": folder, "revision": "r"})
    monkeypatch.setattr(prepare_stage, "ensure_model", lambda spec: model)
    monkeypatch.setattr(prepare_stage, "ensure_data", lambda spec: arena_data(folder))
    monkeypatch.setattr(prepare_stage, "samples_of", lambda task, data: task.samples(data))
    return context(run_folder, "arenahardwriting--tiny-qwen3--base")


def test_a_cell_is_prepared_with_the_plans_wording_and_asks_in_it(tmp_path, monkeypatch):
    here = arena_cell(tmp_path, JUDGE, monkeypatch)
    prepared = prepare_stage.prepare(here)
    assert prepared.prompts == {"grader": JUDGE}
    task = here.catalogue.task("arenahardwriting")
    (sample,) = task.samples(prepare_stage.data_dir_of(prepared))
    first, _ = task.checks(sample, Completion(text="mine"))
    labels = JUDGE.split(": ")[1]
    assert first.messages == ({"role": "user", "content": f"Q Write. A theirs B mine: {labels}"},)


def test_a_wording_that_the_task_cannot_use_stops_the_cell_before_the_agent_starts(
    tmp_path, monkeypatch
):
    here = arena_cell(tmp_path, JUDGE, monkeypatch)
    assert here.run.plan.grader is not None
    grader = replace(here.run.plan.grader, prompts={"arenahardwriting": "Who is better?"})
    run = replace(here.run, plan=replace(here.run.plan, grader=grader))  # as of an earlier ptb
    words = r"judge prompt that the plan names cannot be used: it holds \{question\} 0 times"
    with pytest.raises(DataError, match=words):
        prepare_stage.prepare(replace(here, run=run))
