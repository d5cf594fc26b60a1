"""Time a leaderboard over many generated records: read, count, aggregate, render as JSON.

Usage: ``python benchmarks/leaderboard_records.py [RECORDS]`` (10,000 by default).
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ptb_core.evaluation.exchange import TaskScore
from ptb_core.integrity import Citation, Finding, Verdict
from ptb_core.leaderboard.exports import json_text
from ptb_core.leaderboard.loading import load_board
from ptb_core.leaderboard.results import Board
from ptb_core.leaderboard.terminal import plain_text
from ptb_core.plan.expand import Matrix, expand
from ptb_core.plan.model import Budgets, Plan, SandboxChoice
from ptb_core.records import Evaluation, Record, Solve
from ptb_core.run_head import Run, encode_head
from ptb_core.specs import AgentSpec, CellSpec, ComponentChoice, Condition, ProtocolSpec

TASKS = tuple(f"task-{i}" for i in range(7))
MODELS = tuple(f"model-{i}" for i in range(4))
PROTOCOL = ProtocolSpec(name="strict", requests="seeded", scoring="repaired")
CONDITION = Condition(hours=10, gpus=1)


def main(arguments: Sequence[str]) -> None:
    wanted = int(arguments[0]) if arguments else 10_000
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        cells = make_run(run, wanted)
        size = sum(file.stat().st_size for file in run.rglob("record.json"))
        print(f"{len(cells)} records, {size / len(cells) / 1024:.1f} KiB each")
        print(f"{'step':<28} seconds")
        board = timed("read, count, aggregate", lambda: load_board([run]))
        assert isinstance(board, Board)
        timed("JSON", lambda: json_text(board))
        timed("table", lambda: plain_text(board))
        timed("read with --check", lambda: load_board([run], check=True))


def timed(name: str, step: object) -> object:
    assert callable(step)
    start = time.perf_counter()
    result: object = step()
    print(f"{name:<28} {time.perf_counter() - start:.2f}")
    return result


def make_run(folder: Path, wanted: int) -> tuple[CellSpec, ...]:
    """Write a run folder with about ``wanted`` records, one cell in ten flagged."""
    agents = [AgentSpec(name=f"agent-{i}", scaffold="script") for i in range(12)]
    matrix = Matrix(
        tasks=TASKS,
        models=MODELS,
        agents=agents,
        repeats=max(1, wanted // (len(TASKS) * len(MODELS) * len(agents))),
        include=(),
        exclude=(),
        condition=CONDITION,
        protocol=PROTOCOL,
        seed=1,
        measure_base=True,
    )
    cells = expand(matrix)
    plan = Plan(
        name="benchmark",
        tasks=TASKS,
        models=MODELS,
        agents=tuple(agents),
        agent_ids={agent.name: f"id-of-{agent.name}" for agent in agents},
        repeats=matrix.repeats,
        condition=CONDITION,
        condition_id="condition",
        sandbox=SandboxChoice(name="local"),
        engine=ComponentChoice(name="transformers"),
        executor=ComponentChoice(name="local"),
        judges=(),
        protocol=PROTOCOL,
        budgets=Budgets(),
        baselines="measured",
        weights={},
        weights_note="",
        gpu_hour_usd=0.0,
        seed=1,
        cells=cells,
    )
    run = Run(run_id="benchmark", created_unix_s=0.0, plan=plan, plan_id="p", software={})
    (folder / "run.json").write_bytes(encode_head(run))
    for record in records(cells):
        path = folder / "cells" / record.cell.id
        path.mkdir(parents=True)
        content = msgspec.json.format(msgspec.json.encode(record), indent=2)
        (path / "record.json").write_bytes(content)
    return cells


def records(cells: Sequence[CellSpec]) -> Iterator[Record]:
    """Yield a record of usual size for each cell."""
    source = random.Random(0)
    for cell in cells:
        flagged = cell.agent is not None and source.random() < 0.1
        value = source.random()
        score = TaskScore(value=value, stderr=0.01, n=150, marks={"truncated": 3})
        yield Record(
            cell=cell,
            agent_id=f"id-of-{cell.agent.name}" if cell.agent else None,
            condition_id="condition",
            counts="base" if flagged else "own",
            reason="flagged: test-data-in-training" if flagged else "",
            evaluation=Evaluation(
                complete=True,
                n_expected=150,
                n_scored=150,
                scores={"published": score, "repaired": score},
                counted="repaired",
                details={"max_tokens": 4000, "engine": {"name": "transformers"}},
            ),
            verdict=None if cell.agent is None else "flagged" if flagged else "clean",
            verdicts=(_verdict(flagged),) if cell.agent else (),
            solve=Solve(outcome="finished", detail="The agent said so.", seconds=3600.0),
            submission="sealed",
            attempts=(),
            sandboxes={},
            lock={"submission": [f"{i:064x}  final_model/file-{i}" for i in range(12)]},
            created_unix_s=source.random(),
        )


def _verdict(flagged: bool) -> Verdict:
    cited = tuple(
        Citation(path="workspace/train.jsonl", line=i, excerpt="q" * 200) for i in range(8)
    )
    found = Finding(violation="test-data-in-training", summary="Copied.", citations=cited)
    return Verdict(
        judge="rules",
        version="1",
        outcome="flagged" if flagged else "clean",
        findings=(found,) if flagged else (),
        facts={"files": 120, "items": 1319},
    )


if __name__ == "__main__":
    main(sys.argv[1:])
