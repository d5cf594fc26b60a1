"""ptb evaluate for real: the shipped model on the real engine, beside a cell, and killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ptb_core.data import data_dir
from ptb_core.record_store import read_record

pytestmark = pytest.mark.slow

BASE = "errands--tiny-qwen3--base"


def argv(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ptb_core.cli.main", *map(str, arguments)]


def ptb(*arguments: str | Path) -> str:
    done = subprocess.run(
        argv(*arguments), capture_output=True, text=True, timeout=570, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def answers(log: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return sorted(rows, key=lambda row: str(row["id"]))


@pytest.mark.parametrize("protocol", ["strict", "paper-v1"])
def test_a_checkpoint_has_the_completions_and_scores_that_it_has_in_a_cell(
    tmp_path: Path, protocol: str
) -> None:
    """Published requests of this model are greedy: its generation_config.json samples nothing."""
    plan = {
        "name": "both",
        "tasks": ["errands"],
        "models": ["tiny-qwen3"],
        "agents": [{"name": "null", "scaffold": "null"}],
        "condition": {"hours": 0.1, "gpus": 0},
        "sandbox": {"name": "local"},
        "engine": {"name": "transformers", "settings": {"threads": 1}},
        "judges": [{"name": "lineage"}],
        "protocol": {"base": protocol, "limit": 40},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan), "utf-8")
    run, mine = tmp_path / "run", tmp_path / "mine"
    ptb("run", "--plan", tmp_path / "plan.json", "--run-dir", run)
    options = ("--limit", "40", "--protocol", protocol, "--setting", "threads=1")
    ptb("evaluate", "tiny-qwen3", "--task", "errands", *options, "--output", mine)
    cell = run / "cells" / BASE
    assert answers(mine / "completions.jsonl") == answers(
        cell / "stages" / "generate" / "completions.jsonl"
    )
    record = read_record(cell / "record.json")
    assert record.evaluation is not None
    summary = json.loads((mine / "summary.json").read_text("utf-8"))["evaluation"]
    cells = json.loads((cell / "record.json").read_text("utf-8"))["evaluation"]
    assert summary["scores"] == cells["scores"]
    timeless = [{**e["details"]["generation"], "seconds": 0} for e in (summary, cells)]
    assert timeless[0] == timeless[1]
    assert {**summary["details"], "generation": 0} == {**cells["details"], "generation": 0}
    shown = [json.loads(line) for line in ptb("samples", cell, "--json").splitlines()]
    own = [json.loads(line) for line in ptb("samples", mine, "--json").splitlines()]
    assert shown == own


def test_a_sample_has_the_same_completion_under_every_limit(tmp_path: Path) -> None:
    """Of 37 samples the last five share a batch with eleven that only the longer run counts."""
    found: dict[int, list[dict[str, Any]]] = {}
    for limit in (37, 53):
        ptb(
            "evaluate", "tiny-qwen3", "--task", "errands", "--setting", "threads=1",
            "--limit", str(limit), "--output", tmp_path / str(limit),
        )  # fmt: skip
        found[limit] = answers(tmp_path / str(limit) / "completions.jsonl")
        assert len(found[limit]) == limit
    assert found[37] == found[53][:37]


def test_an_evaluation_that_is_killed_goes_on_where_it_stood(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    command = argv(
        "evaluate", data_dir() / "embedded" / "models" / "tiny-qwen3", "--model", "tiny-qwen3",
        "--task", "errands", "--setting", "threads=1", "--setting", "batch_size=4",
        "--output", folder,
    )  # fmt: skip
    log = folder / "completions.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 8):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until, "it did not begin to answer"
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = log.read_bytes().rpartition(b"\n")[0]
    n_before = before.count(b"\n") + 1
    assert n_before < 160
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert log.read_bytes().startswith(before)
    generation = json.loads((folder / "summary.json").read_text("utf-8"))["evaluation"]["details"][
        "generation"
    ]
    assert (generation["requests"], generation["resumed"]) == (160, n_before)
    assert not (folder / "live.json").exists()


def test_ctrl_c_ends_the_server_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        argv(
            "evaluate", "tiny-qwen3", "--task", "errands", "--setting", "threads=1",
            "--setting", "batch_size=2", "--output", tmp_path / "mine",
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    log = tmp_path / "mine" / "completions.jsonl"
    until = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < until, "it did not begin to answer"
        time.sleep(0.02)
    session = json.loads((tmp_path / "mine" / "live.json").read_text())["session"]["name"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"interrupted: \d+ of 160 answers are kept; the same command ", errors)
    assert not (tmp_path / "mine" / "live.json").exists()
    assert not [pid for pid in _pids() if session in _environment(pid)]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text("utf-8", "replace")
    except OSError:
        return ""


def test_base_and_few_shot_baselines_are_measured_and_taken_by_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan: dict[str, Any] = {
        "name": "declaring",
        "tasks": ["errands"],
        "models": ["tiny-qwen3"],
        "agents": [{"name": "null", "scaffold": "null"}],
        "condition": {"hours": 0.1, "gpus": 0},
        "sandbox": {"name": "local"},
        "engine": {"name": "transformers", "settings": {"threads": 1}},
        "judges": [{"name": "lineage"}],
        "protocol": {"base": "strict", "limit": 8},
    }
    Path("plan.json").write_text(json.dumps(plan), "utf-8")
    kinds = ("--kind", "zero-shot", "--kind", "few-shot")
    told = ptb("baseline", "plan.json", *kinds, "--out", "measured.json")
    assert re.fullmatch(
        r"zero-shot  tiny-qwen3  errands  [\d.]+ ± [\d.]+ % \(repaired scoring, 8 samples\)\n"
        r"few-shot   tiny-qwen3  errands  [\d.]+ ± [\d.]+ % \(repaired scoring, 8 samples\)\n",
        told,
    )
    found = json.loads(Path("measured.json").read_text("utf-8"))
    zero_shot, few_shot = found["sets"]
    how = few_shot["measurements"]["tiny-qwen3"]["errands"]
    assert (how["protocol"]["name"], len(how["protocol"]["seeds"])) == ("few-shot", 10)
    Path("plan.json").write_text(json.dumps({**plan, "baselines": "measured.json"}), "utf-8")
    board = ptb("run", "--plan", "plan.json", "--run-dir", "run")
    assert not Path("run", "cells", BASE).exists()
    value = zero_shot["scores"]["tiny-qwen3"]["errands"]
    assert re.search(rf"base model +{100 * value:.1f} ", board)
    assert "note: base scores that no run measured are those of a file that the plan" in board
