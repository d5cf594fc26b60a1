"""evaluate.py where its completions are scored outside: the broker's socket is a real one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, batches_of
from test_development import OPTIONS, ScriptedEngine, right_for

from ptb_core.broker.calls import CallLog, read_calls
from ptb_core.broker.client import BrokerError
from ptb_core.broker.scoring import Scorer
from ptb_core.broker.server import BrokerServer, Patience
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.errors import UsageError
from ptb_core.evaluation import development
from ptb_core.evaluation.checking import Grader, Runners
from ptb_core.evaluation.checks import Check, GraderCheck, GraderResult
from ptb_core.evaluation.development import evaluate
from ptb_core.evaluation.exchange import Completion, DataDir, Sample
from ptb_core.evaluation.laid_questions import read_questions
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.evaluation.questions import GenerateOptions, SampleRequests, questions
from ptb_core.evaluation.workspace import lay_harness, read_settings
from ptb_core.fetch import ensure_data
from ptb_core.interfaces import Task
from ptb_core.specs import ComponentChoice, Condition, DevEvaluation, RequestKind


class YesGrader(Grader):
    """Finds everything right."""

    asked = 0

    async def ask(self, check: GraderCheck, accepts: object) -> GraderResult:
        self.asked += 1
        return GraderResult(text="yes")


@pytest.fixture
def data() -> DataDir:
    return ensure_data(load_catalogue().task("errands").spec, offline=True)


@pytest.fixture
def rows(data: DataDir) -> list[dict[str, str]]:
    return [json.loads(line) for line in data.file("test").read_text().splitlines()]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (base / name).write_text("{}")
    monkeypatch.setenv("PTB_BASE_MODEL", str(base))
    return base


@pytest.fixture
def engine(rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEngine]:
    with ScriptedServer(right_for(rows, 3)) as server:
        scripted = ScriptedEngine(server)
        monkeypatch.setattr(Catalogue, "engine", lambda self, name: scripted)
        yield scripted


def lay(
    folder: Path, task: Task, data: DataDir, mode: DevEvaluation, protocol: str = "strict"
) -> Path:
    folder.mkdir()
    lay_harness(
        folder,
        task=task,
        model=load_catalogue().model("tiny-qwen3"),
        condition=Condition(hours=1, gpus=0, dev_evaluation=mode),
        protocol=PROTOCOLS[protocol],
        engine=ComponentChoice(name="transformers", settings={"threads": 1}),
        data=data,
    )
    return folder


@pytest.fixture
def grader() -> YesGrader:
    return YesGrader()


@pytest.fixture
def answers_outside() -> bool:
    return True


@pytest.fixture
def calls(
    data: DataDir, grader: YesGrader, answers_outside: bool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A broker for the shipped task; the environment names its socket."""
    short = Path(tempfile.mkdtemp(prefix="ptb-t-", dir="/tmp"))
    log = CallLog(short / "calls.jsonl")
    scorer = Scorer(
        task=load_catalogue().task("errands"),
        data=data,
        protocol=PROTOCOLS["strict"],
        runners=lambda: Runners(grader=grader),
        folder=short,
        log=log,
        most_calls=None,
        answers_outside=answers_outside,
    )
    monkeypatch.setenv("PTB_BROKER", str(short / "s"))
    with BrokerServer(short / "s", scorer, Patience(pause_s=0.0)):
        yield short / "calls.jsonl"
    log.close()
    shutil.rmtree(short)


@pytest.fixture
def brokered(tmp_path: Path, data: DataDir) -> Path:
    return lay(tmp_path / "w", load_catalogue().task("errands"), data, "brokered")


# What lies in the workspace -------------------------------------------------------------------


def test_a_brokered_workspace_holds_what_is_asked_and_nothing_else_of_a_sample(
    brokered: Path, data: DataDir
) -> None:
    present = {p.relative_to(brokered).as_posix() for p in brokered.rglob("*") if p.is_file()}
    assert present == {
        "evaluate.py",
        "evaluation/settings.json",
        "evaluation/questions.jsonl",
        "templates/qwen.jinja",
        "timer.sh",
    }
    lines = (brokered / "evaluation" / "questions.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 160
    for line in lines:
        laid = json.loads(line)
        assert set(laid) == {"id", "requests", "seeds"}
        assert [set(request) for request in laid["requests"]] == [{"chat"}]
    settings = read_settings(brokered)
    assert (settings.scored, settings.data, settings.prompts) == ("outside", {}, {})


def test_no_answer_stands_in_a_brokered_workspace(tmp_path: Path, data: DataDir) -> None:
    """Answers that the questions do not hold themselves are searched for in every file."""
    marked = tmp_path / "test.jsonl"
    rows = [json.loads(line) for line in data.file("test").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["answer"] = f"zq{number:04}"
    marked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_catalogue().task("errands")
    files = replace(data, files={**data.files, "test": marked})
    for mode, found in (("brokered", 0), ("none", 0), ("in-sandbox", len(rows))):
        folder = lay(tmp_path / mode, task, files, mode)  # type: ignore[arg-type]
        content = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
        assert sum(row["answer"].encode() in content for row in rows) == found, mode


@pytest.mark.parametrize("kind", ["published", "seeded"])
def test_laid_questions_are_the_final_evaluations_to_the_byte(
    tmp_path: Path, data: DataDir, kind: RequestKind
) -> None:
    task = load_catalogue().task("errands")
    protocol = {"published": "paper-v1", "seeded": "strict"}[kind]
    folder = lay(tmp_path / "w", task, data, "brokered", protocol)
    laid = read_questions(folder / "evaluation" / "questions.jsonl")
    asked = [SampleRequests(id=s.id, requests=task.requests(s, kind)) for s in task.samples(data)]
    options = GenerateOptions(requests=kind, max_tokens=8)
    own, final = questions(list(laid.values()), options), questions(asked, options)
    assert [question.body for question in own] == [question.body for question in final]
    assert [question.sample for question in own][:2] == ["0001", "0002"]


def test_a_graded_task_in_the_sandbox_has_its_data_there_and_no_scoring(
    tmp_path: Path, data: DataDir
) -> None:
    folder = lay(tmp_path / "w", graded(), data, "in-sandbox")
    settings = read_settings(folder)
    assert (settings.scored, settings.questions) == ("outside", None)
    assert set(settings.data) == set(data.files)


# What evaluate.py does ------------------------------------------------------------------------


def test_a_brokered_score_is_told_in_the_same_words(
    brokered: Path, base: Path, engine: ScriptedEngine, calls: Path
) -> None:
    told: list[str] = []
    target = brokered / "metrics.json"
    options = replace(OPTIONS, model_path=base, json_output_file=target)
    evaluate(brokered, options, told.append)
    assert told == [
        "errands: 0.7500 ± 0.2500 (4 of 160 samples, protocol strict: seeded requests, "
        "repaired scoring)"
    ]
    assert json.loads(target.read_text()) == {
        "accuracy": 0.75,
        "stderr": 0.25,
        "n": 4,
        "task": "errands",
        "protocol": "strict",
        "scoring": "repaired",
        "max_tokens": 64,
        "breakdowns": {},
        "marks": {},
    }
    assert [event.event for event in read_calls(calls)] == ["asked", "scored"]


def test_the_same_is_asked_as_where_the_data_lie_in_the_sandbox(
    tmp_path: Path,
    brokered: Path,
    data: DataDir,
    base: Path,
    engine: ScriptedEngine,
    calls: Path,
) -> None:
    inside = lay(tmp_path / "inside", load_catalogue().task("errands"), data, "in-sandbox")
    for workspace in (brokered, inside):
        evaluate(workspace, replace(OPTIONS, model_path=base), lambda _: None)
    bodies = [json.dumps(body, sort_keys=True) for body in engine.server.bodies]
    assert sorted(bodies[:4]) == sorted(bodies[4:])


@pytest.mark.parametrize("mode", ["brokered", "in-sandbox"])
def test_a_limit_changes_nothing_of_the_batches_that_it_asks(
    tmp_path: Path,
    data: DataDir,
    rows: list[dict[str, str]],
    base: Path,
    engine: ScriptedEngine,
    calls: Path,
    mode: DevEvaluation,
) -> None:
    workspace = lay(tmp_path / "batched", load_catalogue().task("errands"), data, mode)
    batches = []
    for limit, score in ((5, "0.6000 ± 0.2449 (5 of 160"), (-1, "0.0187 ± 0.0108 (160 of 160")):
        with ScriptedServer(right_for(rows, 3), batch_size=4) as server:
            engine.server = server
            told: list[str] = []
            evaluate(workspace, replace(OPTIONS, model_path=base, limit=limit), told.append)
            assert told[0].startswith(f"errands: {score} samples, ")
            batches.append(batches_of(server.bodies))
    few, every = batches
    assert (len(few), len(every)) == (2, 40)
    assert few == {name: every[name] for name in few}


def test_a_question_that_was_removed_is_missed_before_the_checkpoint_is_served(
    brokered: Path, base: Path, engine: ScriptedEngine, calls: Path
) -> None:
    path = brokered / "evaluation" / "questions.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[1:]), "utf-8")
    with pytest.raises(UsageError, match=r"questions.jsonl lacks 1 of 160 samples, the first '"):
        evaluate(brokered, replace(OPTIONS, model_path=base), lambda _: None)
    assert engine.session is None


@pytest.mark.parametrize("content", ["{", '{"id": "x", "requests": [{}]}', '{"id": 1}'])
def test_damaged_questions_are_named(
    brokered: Path, base: Path, engine: ScriptedEngine, calls: Path, content: str
) -> None:
    (brokered / "evaluation" / "questions.jsonl").write_text(content)
    with pytest.raises(UsageError, match=r"questions.jsonl cannot be read .* must stay as it was"):
        evaluate(brokered, replace(OPTIONS, model_path=base), lambda _: None)


def test_a_limit_that_takes_nothing_is_refused_before_anything_is_asked(
    brokered: Path, base: Path, engine: ScriptedEngine, calls: Path
) -> None:
    with pytest.raises(UsageError, match="--limit 0: give a number of samples, or -1"):
        evaluate(brokered, replace(OPTIONS, model_path=base, limit=0), lambda _: None)
    assert read_calls(calls) == []


def graded() -> Task:
    task = load_catalogue().task("errands")
    return type(task)(replace(task.spec, needs=("grader",)))


@pytest.mark.parametrize("answers_outside", [False])
def test_a_graded_task_is_graded_outside_without_a_key_in_the_sandbox(
    tmp_path: Path,
    data: DataDir,
    base: Path,
    engine: ScriptedEngine,
    calls: Path,
    grader: YesGrader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def checks(self: Task, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        return (GraderCheck(name="ok", messages=(), max_completion_tokens=1),)

    monkeypatch.setattr(type(graded()), "checks", checks)
    folder = lay(tmp_path / "w", graded(), data, "in-sandbox")
    told: list[str] = []
    evaluate(folder, replace(OPTIONS, model_path=base), told.append)
    assert told[0].startswith("errands: 0.7500 ± 0.2500 (4 of 160 samples")
    assert grader.asked == 4


def test_a_refusal_of_the_broker_ends_evaluate_py_with_its_sentence(
    brokered: Path,
    base: Path,
    engine: ScriptedEngine,
    calls: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Scorer, "_accept", lambda *_: 1 / 0)
    with pytest.raises(BrokerError, match="there is no score: the broker failed; the operator's"):
        evaluate(brokered, replace(OPTIONS, model_path=base), lambda _: None)


def test_without_a_broker_in_the_environment_nothing_is_served(
    brokered: Path, base: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PTB_BROKER", raising=False)
    with pytest.raises(UsageError, match="PTB_BROKER names no socket"):
        evaluate(brokered, replace(OPTIONS, model_path=base), lambda _: None)
    assert engine.session is None


def test_waiting_for_another_score_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(development, "PROGRESS_EVERY_S", 0.0)
    report = development._progress("checks")
    report(0, 0)
    report(1, 2)
    assert capsys.readouterr().err == "waiting for another score\n1 of 2 checks\n"
