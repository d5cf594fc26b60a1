"""evaluate.py's own work: what it asks, what it reports, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer, chat_reply

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.errors import EngineError, PtbError, UsageError
from ptb_core.evaluation import development
from ptb_core.evaluation.development import Options, evaluate
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.evaluation.workspace import lay_harness
from ptb_core.fetch import ensure_data
from ptb_core.interfaces import Endpoint, Engine, ServeRequest, Session
from ptb_core.specs import ComponentChoice, Condition, EngineSpec, Setting

OPTIONS = Options(
    model_path=Path(),
    limit=4,
    json_output_file=None,
    max_tokens=None,
    max_connections=None,
    gpu_memory_utilization=None,
    templates_dir=None,
    engine=None,
)


class ScriptedEngine(Engine):
    """Hands out a server that a test scripts, and remembers what was to be served."""

    def __init__(self, server: ScriptedServer, settings: tuple[Setting, ...] = ()) -> None:
        super().__init__(EngineSpec(name="scripted", description="", settings=settings))
        self.server = server
        self.request: ServeRequest | None = None
        self.session: Session | None = None
        self.generation_config: object = None

    def serve(self, request: ServeRequest, session: Session) -> Endpoint:
        self.request, self.session = request, session
        path = Path(request.generation_config) / "generation_config.json"
        self.generation_config = json.loads(path.read_text()) if path.exists() else None
        return self.server.endpoint


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace for the shipped task and model, with the base model as submission."""
    catalogue = load_catalogue()
    task, model = catalogue.task("errands"), catalogue.model("tiny-qwen3")
    folder = tmp_path / "workspace"
    folder.mkdir()
    lay_harness(
        folder,
        task=task,
        model=model,
        condition=Condition(hours=1, gpus=0),
        protocol=PROTOCOLS["strict"],
        engine=ComponentChoice(name="transformers", settings={"threads": 1}),
        data=ensure_data(task.spec, offline=True),
    )
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (base / name).write_text("{}")
    monkeypatch.setenv("PTB_BASE_MODEL", str(base))
    return folder


@pytest.fixture
def base(workspace: Path) -> Path:
    return Path(os.environ["PTB_BASE_MODEL"])


@pytest.fixture
def rows(workspace: Path) -> list[dict[str, str]]:
    lines = (workspace / "evaluation" / "data" / "test.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def right_for(rows: list[dict[str, str]], count: int) -> Any:
    """Answer the first ``count`` rows rightly."""
    answers = {row["question"]: row["answer"] for row in rows[:count]}

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        question = body["messages"][-1]["content"].rpartition("\n")[0]
        return 200, chat_reply(f"ANSWER: {answers.get(question, 'nothing')}")

    return answer


@pytest.fixture
def engine(rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEngine]:
    with ScriptedServer(right_for(rows, 3)) as server:
        scripted = ScriptedEngine(server)
        monkeypatch.setattr(Catalogue, "engine", lambda self, name: scripted)
        yield scripted


def test_the_score_and_its_terms_are_told_in_one_line(
    workspace: Path, base: Path, engine: ScriptedEngine
) -> None:
    told: list[str] = []
    evaluate(workspace, replace(OPTIONS, model_path=base), told.append)
    assert told == [
        "errands: 0.7500 ± 0.2500 (4 of 160 samples, protocol strict: seeded requests, "
        "repaired scoring)"
    ]


def test_the_metrics_file_holds_numbers_and_no_items(
    workspace: Path,
    base: Path,
    engine: ScriptedEngine,
    rows: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = workspace / "out" / "metrics.json"
    evaluate(workspace, replace(OPTIONS, model_path=base, json_output_file=target), print)
    metrics = json.loads(target.read_text())
    assert metrics == {
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
    shown = target.read_text() + "".join(capsys.readouterr())
    assert not any(row["question"] in shown or row["id"] in shown for row in rows)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("a-file/m.json", "Not a directory"), ("evaluation", "Is a directory")],
)
def test_a_metrics_file_that_cannot_be_written_is_refused_before_anything_is_served(
    workspace: Path, base: Path, engine: ScriptedEngine, target: str, reason: str
) -> None:
    (workspace / "a-file").write_text("")
    options = replace(OPTIONS, model_path=base, json_output_file=workspace / target)
    with pytest.raises(UsageError) as caught:
        evaluate(workspace, options, print)
    assert str(caught.value) == (
        f"--json-output-file {workspace / target} cannot be written ({reason}); name a file in a "
        "folder that you may write to"
    )
    assert engine.request is None


def test_what_lies_at_the_metrics_files_place_stays_when_there_is_no_score(
    workspace: Path, base: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = workspace / "out" / "metrics.json"
    target.parent.mkdir()
    target.write_text("earlier")
    with ScriptedServer(lambda path, body: (403, {"error": {"message": "no"}})) as server:
        monkeypatch.setattr(Catalogue, "engine", lambda self, name: ScriptedEngine(server))
        with pytest.raises(EngineError):
            evaluate(workspace, replace(OPTIONS, model_path=base, json_output_file=target), print)
    assert [path.name for path in target.parent.iterdir()] == ["metrics.json"]
    assert target.read_text() == "earlier"


def test_a_disk_that_fills_up_under_the_metrics_is_told_in_one_line(
    workspace: Path,
    base: Path,
    engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(development, "write_json", full)
    target = workspace / "metrics.json"
    arguments = ["--model-path", str(base), "--json-output-file", str(target), "--limit", "4"]
    monkeypatch.setattr(sys, "argv", [str(workspace / "evaluate.py"), *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert development.main() == 1
    out, err = capsys.readouterr()
    assert out.startswith("errands: 0.7500")
    assert err == f"evaluate.py: {target}: No space left on device\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_tokens": 7}, "strict: seeded requests, repaired scoring, max tokens 7)"),
        ({"limit": -1}, "strict: seeded requests, repaired scoring)"),
    ],
)
def test_the_protocols_changes_are_told_with_the_score(
    workspace: Path, base: Path, engine: ScriptedEngine, changes: dict[str, Any], words: str
) -> None:
    told: list[str] = []
    evaluate(workspace, replace(OPTIONS, model_path=base, **changes), told.append)
    assert told[0].endswith(words)


def test_nothing_of_the_evaluation_stays_behind(
    workspace: Path, base: Path, engine: ScriptedEngine
) -> None:
    before = sorted(workspace.rglob("*"))
    evaluate(workspace, replace(OPTIONS, model_path=base), print)
    assert sorted(workspace.rglob("*")) == before
    assert engine.session is not None
    private = Path(engine.session.inside("tmp"))
    assert not private.parent.parent.exists()


def test_the_checkpoint_is_served_as_in_the_final_evaluation(
    workspace: Path, base: Path, engine: ScriptedEngine
) -> None:
    own = {"eos_token_id": 5, "temperature": 0.9}
    (base / "generation_config.json").write_text(json.dumps(own))
    evaluate(workspace, replace(OPTIONS, model_path=base, max_tokens=7), print)
    request = engine.request
    assert request is not None
    assert (request.checkpoint, request.tokenizer) == (str(base), str(base))
    assert request.chat_template == str(workspace / "templates" / "qwen.jinja")
    assert request.settings == {"threads": 1}
    assert request.max_context_tokens == 512
    assert request.template_date == "2026-01-01"
    assert engine.generation_config == {"eos_token_id": [5]}
    body = engine.server.bodies[0]
    assert (body["max_tokens"], body["temperature"]) == (7, 0.0)
    assert "<|im_end|>" in body["stop"]


def test_the_limit_takes_so_many_samples_and_minus_one_takes_all(
    workspace: Path, base: Path, engine: ScriptedEngine
) -> None:
    told: list[str] = []
    evaluate(workspace, replace(OPTIONS, model_path=base, limit=3), told.append)
    evaluate(workspace, replace(OPTIONS, model_path=base, limit=-1), told.append)
    assert [text.split(" (")[1].split(",")[0] for text in told] == [
        "3 of 160 samples",
        "160 of 160 samples",
    ]
    assert told[0].startswith("errands: 1.0000 ± 0.0000")


@pytest.mark.parametrize("limit", [0, -2])
def test_a_limit_that_means_nothing_is_refused(
    workspace: Path, base: Path, engine: ScriptedEngine, limit: int
) -> None:
    with pytest.raises(UsageError, match=f"--limit {limit}: give a number of samples, or -1"):
        evaluate(workspace, replace(OPTIONS, model_path=base, limit=limit), print)


def test_memory_goes_to_engines_that_have_such_a_setting(
    workspace: Path, base: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(name="gpu_memory_utilization", description="", type="number")
    monkeypatch.setattr(engine, "spec", replace(engine.spec, settings=(setting,)))
    evaluate(workspace, replace(OPTIONS, model_path=base, gpu_memory_utilization=0.3), print)
    assert engine.request is not None
    assert engine.request.settings["gpu_memory_utilization"] == 0.3


def test_memory_is_left_out_with_a_note_for_other_engines(
    workspace: Path,
    base: Path,
    engine: ScriptedEngine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate(workspace, replace(OPTIONS, model_path=base, gpu_memory_utilization=0.3), print)
    note = "--gpu-memory-utilization has no meaning for the engine transformers; left out"
    assert note in capsys.readouterr().err


def test_connections_are_bounded(
    workspace: Path, base: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ptb_core.evaluation import generate as generate_module

    bounds: list[int | None] = []
    ask = generate_module.generate

    def watched(samples: Any, endpoint: Endpoint, *rest: Any) -> Any:
        bounds.append(endpoint.max_in_flight)
        return ask(samples, endpoint, *rest)

    monkeypatch.setattr(generate_module, "generate", watched)
    evaluate(workspace, replace(OPTIONS, model_path=base, max_connections=2), print)
    assert bounds == [2]


def test_unanswered_samples_mean_no_score(
    workspace: Path, base: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(lambda path, body: (404, {"error": {"message": "no such model"}})) as bad:
        monkeypatch.setattr(engine, "server", bad)
        with pytest.raises(EngineError, match="4 of 4 samples have no answer, so there is no"):
            evaluate(workspace, replace(OPTIONS, model_path=base), print)


def test_a_task_that_cannot_score_means_no_score(
    workspace: Path, base: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = type(load_catalogue().task("errands"))

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(task, "score", broken)
    with pytest.raises(PtbError, match=r"there is no score: task 'errands' .* ZeroDivisionError"):
        evaluate(workspace, replace(OPTIONS, model_path=base), print)


def test_a_folder_without_a_checkpoint_is_refused(
    workspace: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    with pytest.raises(UsageError, match=r"holds no config.json; give the folder of a checkpoint"):
        evaluate(workspace, replace(OPTIONS, model_path=tmp_path / "none"), print)


def test_an_adapter_is_refused_with_what_to_do(
    workspace: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds a LoRA adapter; .* merge it"):
        evaluate(workspace, replace(OPTIONS, model_path=tmp_path), print)


def test_a_missing_base_model_is_named(
    workspace: Path, base: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PTB_BASE_MODEL")
    with pytest.raises(UsageError, match=r"PTB_BASE_MODEL names no folder \(found ''\)"):
        evaluate(workspace, replace(OPTIONS, model_path=base), print)


def test_a_missing_template_is_named(
    workspace: Path, base: Path, engine: ScriptedEngine, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"qwen.jinja is missing; templates were laid here"):
        evaluate(workspace, replace(OPTIONS, model_path=base, templates_dir=tmp_path), print)


def test_progress_is_told_at_intervals(
    workspace: Path,
    base: Path,
    engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(development, "PROGRESS_EVERY_S", 0.0)
    evaluate(workspace, replace(OPTIONS, model_path=base), print)
    assert "4 of 4 answers\n" in capsys.readouterr().err


# With the real engine -------------------------------------------------------------------------


def command(workspace: Path, *arguments: str) -> list[str]:
    base = load_catalogue().model("tiny-qwen3").source.packaged
    from ptb_core.data import data_dir

    return [sys.executable, "evaluate.py", "--model-path", str(data_dir() / str(base)), *arguments]


@pytest.mark.slow
def test_the_shipped_base_model_is_evaluated_for_real(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(workspace, "--limit", "8", "--json-output-file", "metrics.json")
    monkeypatch.setenv("PTB_BASE_MODEL", arguments[3])
    done = subprocess.run(arguments, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("errands: 0.")
    assert "(8 of 160 samples, protocol strict: seeded requests, repaired scoring)" in done.stdout
    assert json.loads((workspace / "metrics.json").read_text())["n"] == 8


@pytest.mark.slow
def test_an_evaluation_that_is_told_to_end_takes_its_server_along(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(workspace, "--limit", "-1")
    monkeypatch.setenv("PTB_BASE_MODEL", arguments[3])
    process = subprocess.Popen(arguments, cwd=workspace, stderr=subprocess.DEVNULL)
    server = wait_for_child(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{server}").exists()


def wait_for_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = children.read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("evaluate.py started no server")
