"""Development evaluation in real cells: the same answers and verdicts as in the final one.

Nothing here is replaced: real supervisors, the shipped base model, the real engine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ptb_core.broker.calls import read_calls
from ptb_core.catalogue import load_catalogue
from ptb_core.data import data_dir
from ptb_core.evaluation.laid_questions import laid_names
from ptb_core.fetch import ensure_data
from ptb_core.record_store import read_record
from ptb_core.records import Record

pytestmark = pytest.mark.slow

MEASURE = """
import json, os, shutil, subprocess, sys
from pathlib import Path

base = os.environ["PTB_BASE_MODEL"]
shutil.copytree(base, "final_model")
config = json.loads(Path("final_model/generation_config.json").read_text())
Path("final_model/generation_config.json").write_text(json.dumps({**config, "do_sample": False}))
# What evaluate.py removes at its end is kept, to be compared.
keep = '''
import shutil, sys
from pathlib import Path
import ptb_core.evaluation.development as development
answer = development._answer
def kept(*arguments):
    log = answer(*arguments)
    shutil.copy(log, "development.jsonl")
    return log
development._answer = kept
sys.argv = [str(Path("evaluate.py").resolve()), *sys.argv[1:]]
sys.exit(development.main())
'''
options = ["--limit", "12", "--json-output-file", "metrics.json"]
sys.exit(subprocess.run([sys.executable, "-c", keep, *options]).returncode)
"""

LIMIT = 12


def plan(folder: Path, **changes: Any) -> Path:
    (folder / "measure.py").write_text(MEASURE, "utf-8")
    content = json.loads((data_dir() / "plans" / "quickstart.json").read_text("utf-8"))
    content["agents"] = [
        {"name": "measure", "scaffold": "script", "settings": {"program": "measure.py"}}
    ]
    content["name"] = "modes"
    content["baselines"] = "published"
    content["judges"] = [{"name": "test-items"}, {"name": "harness"}]
    content["condition"] |= {"provide_train_data": False, **changes.pop("condition")}
    (folder / "plan.json").write_text(json.dumps({**content, **changes}), "utf-8")
    return folder / "plan.json"


def run(folder: Path, **changes: Any) -> tuple[Record, Path]:
    """Run a plan of one cell; return its record and its folder."""
    argv = [sys.executable, "-m", "ptb_core.cli.main", "run", "--plan"]
    argv += [str(plan(folder, **changes)), "--run-dir", str(folder / "run")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=570, check=False)
    (cell,) = (folder / "run" / "cells").iterdir()
    assert done.returncode == 0, done.stderr + (cell / "journal.jsonl").read_text()
    return read_record(cell / "record.json"), cell


def by_id(row: dict[str, Any]) -> str:
    return str(row["id"])


def completions(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@pytest.mark.parametrize("mode", ["in-sandbox", "brokered"])
@pytest.mark.parametrize("requests", ["published", "seeded"])
def test_completions_and_score_are_those_of_the_final_evaluation(
    tmp_path: Path, mode: str, requests: str
) -> None:
    base = {"published": "paper-v1", "seeded": "strict"}[requests]
    record, cell = run(
        tmp_path,
        condition={"dev_evaluation": mode},
        protocol={"base": base, "limit": LIMIT},
    )
    (workspace,) = cell.glob("stages/solve/attempt-*/workspace")
    own = [json.loads(line) for line in completions(workspace / "development.jsonl")]
    if mode == "brokered":
        task = load_catalogue().task("errands")
        names = laid_names(task.samples(ensure_data(task.spec, offline=True)))
        ids = {name: sample for sample, name in names.items()}
        own = [{**row, "id": ids[row["id"]]} for row in own]
    assert len(own) == LIMIT
    final = completions(cell / "stages" / "generate" / "completions.jsonl")
    assert sorted(own, key=by_id) == sorted(map(json.loads, final), key=by_id)
    metrics = json.loads((workspace / "metrics.json").read_text("utf-8"))
    score = record.own_score
    assert score is not None
    assert (metrics["accuracy"], metrics["stderr"], metrics["n"]) == (
        score.value,
        score.stderr,
        score.n,
    )
    assert record.verdict == "clean"
    (attempt,) = cell.glob("stages/solve/attempt-*")
    events = read_calls(attempt / "development" / "calls.jsonl")
    assert [event.event for event in events] == (["asked", "scored"] if mode == "brokered" else [])


LOOK_AROUND = """
import json, os, shutil, socket, subprocess, sys
from pathlib import Path

def evaluate(limit):
    command = [sys.executable, "evaluate.py", "--limit", limit]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr

def ask(content):
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.environ["PTB_BROKER"])
        link.sendall(content)
        return json.loads(link.makefile("rb").read())

shutil.copytree(os.environ["PTB_BASE_MODEL"], "final_model")
seen = {
    "files": [str(path) for path in Path(".").rglob("*") if path.is_file()],
    "granted": evaluate("4"),
    "beyond": evaluate("3"),
    "junk": ask(b"give me the answers\\n"),
    "samples": ask(b'{"ask": "samples", "limit": 1}\\n'),
}
Path("seen.json").write_text(json.dumps(seen))
"""


def test_an_agent_under_a_broker_sees_no_answer_and_no_more_scores_than_granted(
    tmp_path: Path,
) -> None:
    folder = tmp_path
    path = plan(folder, condition={"dev_evaluation": "brokered", "dev_calls": 1})
    (folder / "measure.py").write_text(LOOK_AROUND, "utf-8")
    content = json.loads(path.read_text())
    content["protocol"] = {"base": "strict", "limit": 4}
    path.write_text(json.dumps(content))
    argv = [sys.executable, "-m", "ptb_core.cli.main", "run", "--plan", str(path)]
    done = subprocess.run(
        [*argv, "--run-dir", str(folder / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (attempt,) = (folder / "run").glob("cells/*/stages/solve/attempt-*")
    seen = json.loads((attempt / "workspace" / "seen.json").read_text())
    assert not any("data/" in name for name in seen["files"])
    assert seen["junk"]["reply"] == "refusal"
    assert set(seen["samples"]) == {"reply", "ids"}
    status, told, words = seen["granted"]
    assert status == 0, words
    assert told.startswith("errands: ")
    status, told, words = seen["beyond"]
    assert (status, told) == (1, "")
    assert "all 1 scores that this run grants have been given" in words
    record = read_record(attempt.parents[2] / "record.json")
    (facts,) = [v.facts for v in record.verdicts if v.judge == "harness"]
    assert (facts["development_scores"], facts["development_samples"]) == (1, 4)
