"""evaluate.py on a task whose completions are programs: run here, or by the broker."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer, chat_reply
from test_development import OPTIONS, ScriptedEngine
from test_development_outside import lay

from ptb_core.broker.calls import CallLog
from ptb_core.broker.scoring import Scorer
from ptb_core.broker.server import BrokerServer, Patience
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.evaluation.checking import Runners
from ptb_core.evaluation.development import evaluate
from ptb_core.evaluation.exchange import DataDir
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner
from ptb_core.interfaces import Task
from ptb_core.sandboxing import Command, SandboxRequest

TOLD = {
    "paper-v1": "humaneval: 0.7500 ± 0.2500 (4 of 164 samples, protocol paper-v1: published "
    "requests, published",
    "strict": "humaneval: 0.5000 ± 0.2887 (4 of 164 samples, protocol strict: seeded "
    "requests, repaired",
}
"""Two right bodies, one that leaves early with status 0 (right when published), one wrong."""


@pytest.fixture
def task() -> Task:
    return load_catalogue().task("humaneval")


@pytest.fixture
def rows(test_data: Path) -> list[dict[str, str]]:
    path = test_data / "data" / "humaneval.jsonl.gz"
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def data(test_data: Path) -> DataDir:
    path = test_data / "data" / "humaneval.jsonl.gz"
    return DataDir(files={"test": path}, prompts={"user": "Write it.\n"})


@pytest.fixture
def engine(rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEngine]:
    answers = {
        rows[0]["prompt"]: rows[0]["canonical_solution"],
        rows[1]["prompt"]: "```python\n"
        + rows[1]["prompt"]
        + rows[1]["canonical_solution"]
        + "```",
        rows[2]["prompt"]: "    import sys\n    sys.exit(0)\n",
        rows[3]["prompt"]: "    return None\n",
    }

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return 200, chat_reply(answers[body["messages"][-1]["content"].removeprefix("Write it.\n")])

    with ScriptedServer(answer) as server:
        scripted = ScriptedEngine(server)
        monkeypatch.setattr(Catalogue, "engine", lambda self, name: scripted)
        yield scripted


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (base / name).write_text("{}")
    monkeypatch.setenv("PTB_BASE_MODEL", str(base))
    return base


@pytest.mark.parametrize("protocol", TOLD)
def test_programs_run_beside_evaluate_py_where_a_sandbox_surrounds_it(
    tmp_path: Path, task: Task, data: DataDir, base: Path, engine: ScriptedEngine, protocol: str
) -> None:
    folder = lay(tmp_path / "w", task, data, "in-sandbox", protocol)
    told: list[str] = []
    evaluate(folder, replace(OPTIONS, model_path=base), told.append)
    assert told == [f"{TOLD[protocol]} scoring)"]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", TOLD)
def test_the_broker_runs_programs_in_sandboxes_of_its_own_with_the_same_verdicts(
    tmp_path: Path,
    task: Task,
    data: DataDir,
    base: Path,
    engine: ScriptedEngine,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = Path(tempfile.mkdtemp(prefix="ptb-t-", dir="/tmp"))
    log = CallLog(short / "calls.jsonl")

    def runners() -> Runners:
        sandbox = load_catalogue().sandbox("local")
        place = ProgramSandbox(sandbox=sandbox, name=f"ptb-test-{short.name}", root=short / "p")
        return Runners(programs=SandboxProgramRunner(place))

    scorer = Scorer(
        task=task,
        data=data,
        protocol=PROTOCOLS[protocol],
        runners=runners,
        folder=short,
        log=log,
        most_calls=None,
        answers_outside=True,
    )
    monkeypatch.setenv("PTB_BROKER", str(short / "s"))
    folder = lay(tmp_path / "w", task, data, "brokered", protocol)
    laid = (folder / "evaluation" / "questions.jsonl").read_text("utf-8")
    assert "def check(candidate)" not in laid
    told: list[str] = []
    with BrokerServer(short / "s", scorer, Patience(pause_s=0.0)):
        for _ in range(2):
            evaluate(folder, replace(OPTIONS, model_path=base), told.append)
    log.close()
    assert told == [f"{TOLD[protocol]} scoring)"] * 2
    assert not (short / "p").exists()
    shutil.rmtree(short)


INSIDE = """
import asyncio
from ptb_core.evaluation.checks import ProgramCheck
from ptb_core.execution.plain import PlainProgramRunner

async def run():
    for program in ("print(1)", "import sys; sys.exit(0)", "import os; os.kill(os.getppid(), 9)"):
        check = ProgramCheck(name="c", program=program, wants_token=True)
        try:
            result = await PlainProgramRunner().run(check)
            print(result.exit_code, result.reason, result.token_seen)
        except Exception as error:
            print(type(error).__name__)

asyncio.run(run())
"""


@pytest.mark.slow
def test_programs_run_inside_a_real_sandbox_as_they_do_outside(tmp_path: Path) -> None:
    session = (
        load_catalogue()
        .sandbox("local")
        .open(
            SandboxRequest(name=f"ptb-test-{tmp_path.name}", role="solve", root=tmp_path / "root")
        )
    )
    try:
        process = session.start(Command(argv=(sys.executable, "-c", INSIDE)))
        assert session.wait(process, timeout_s=120).state == "exited"
        told = session.logs(process).decode()
        errors = session.logs(process, "stderr").decode()
    finally:
        session.close()
    assert told.splitlines()[:2] == ["0 exit True", "0 exit False"], errors
    assert len(told.splitlines()) == 3, errors
