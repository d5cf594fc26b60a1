"""Run folders to measure with: a few real cells, and large runs made in their image.

A large run has as many cells as wanted; each is a copy of what a real cell left (markers,
journal, claims, record, logs), with its own id, paths and score put in. Weights, workspaces,
completions and samples are left out: nothing that is measured opens them.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ptb_core.catalogue import load_catalogue
from ptb_core.lock import software
from ptb_core.plan import Plan, load_plan
from ptb_core.record_store import read_record
from ptb_core.records import Evaluation, Record
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import CellSpec, JsonValue

TASK, MODEL = "errands", "tiny-qwen3"
BASE_CELL = f"{TASK}--{MODEL}--base"
AGENTS = {
    "clean": 'mkdir final_model && cp -L "$PTB_BASE_MODEL"/* final_model/',
    "cheat": 'mkdir final_model && cp -L "$PTB_BASE_MODEL"/* final_model/ '
    "&& cp evaluation/data/test.jsonl train.jsonl",
    "sleeper": "sleep 3600",
}
"""Shell programs that do next to nothing: an honest one, one to be flagged, one that waits."""

LEFT_OUT_FOLDERS = frozenset({"workspace", "evidence", "submission", "outside-workspace"})
LEFT_OUT_FILES = frozenset({"completions.jsonl", "samples.jsonl"})
FLAGGED_SHARE = 0.1


def small_plan(folder: Path, repeats: int) -> Path:
    """Write a plan of 100 agents that cost nothing, on a model that runs here; return its file."""
    agents: list[JsonValue] = [{"name": "null", "scaffold": "null"}]
    for name, program in AGENTS.items():
        (folder / f"{name}.sh").write_text(program, "utf-8")
        settings = {"program": f"{name}.sh", "interpreter": "sh"}
        agents.append({"name": name, "scaffold": "script", "settings": settings})
    agents += [{"name": f"more-{i:02}", "scaffold": "null"} for i in range(100 - len(agents))]
    return _write_plan(folder, "small", [TASK], [MODEL], agents, repeats=repeats)


def large_plan(folder: Path, cells: int) -> Path:
    """Write a plan of exactly so many cells, 7 tasks x 4 models x 12 agents; return its file.

    What the matrix has too many is excluded cell by cell, as one does with cells that exist
    already. At least 364 cells.
    """
    published = json.loads((Path(__file__).parent.parent / "plans" / "paper.json").read_bytes())
    tasks, models = published["tasks"], published["models"]
    pairs = [(task, model) for task in tasks for model in models]
    agents: list[JsonValue] = []
    (folder / "program.sh").write_text(AGENTS["clean"], "utf-8")
    for number in range(12):
        settings = {"program": "program.sh", "interpreter": "sh", "arguments": [f"--n={number}"]}
        agents.append({"name": f"agent-{number:02}", "scaffold": "script", "settings": settings})
    repeats = -(-(cells - len(pairs)) // (len(pairs) * len(agents)))
    surplus = len(pairs) * (1 + len(agents) * repeats) - cells
    assert 0 <= surplus <= len(pairs) * (len(agents) - 1), "too few cells for this matrix"
    exclude = [
        {"task": task, "model": model, "agent": agent["name"], "repeat": repeats}
        for agent in agents
        for task, model in pairs
    ]
    return _write_plan(
        folder, "large", tasks, models, agents, repeats=repeats, exclude=exclude[:surplus]
    )


def _write_plan(
    folder: Path,
    name: str,
    tasks: Sequence[str],
    models: Sequence[str],
    agents: Sequence[JsonValue],
    **more: JsonValue,
) -> Path:
    plan = {
        "name": name,
        "tasks": tasks,
        "models": models,
        "agents": agents,
        "condition": {
            "hours": 0.1,
            "gpus": 0,
            "network": "open",
            "dev_evaluation": "in-sandbox",
            "provide_train_data": True,
        },
        "sandbox": {"name": "local"},
        "engine": {"name": "transformers", "settings": {"dtype": "float32", "threads": 1}},
        "judges": [{"name": "test-items"}, {"name": "lineage"}, {"name": "harness"}],
        "protocol": "strict",
        **more,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(plan, indent=2), "utf-8")
    return path


def create(folder: Path, plan: Path) -> tuple[RunFolder, Run]:
    """Make a run folder of a plan, with its head and nothing else, as ``ptb run`` does."""
    run_folder = RunFolder(folder)
    return run_folder, run_folder.create(load_plan(plan, load_catalogue()), software())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What a real cell left: its record, and the other small files by relative path."""

    run_folder: Path
    cell: str
    record: Record
    files: Mapping[Path, bytes]


def read_pattern(run_folder: RunFolder, cell: str) -> Pattern:
    """Read a finished cell to make others in its image."""
    folder = run_folder.cell(cell)
    return Pattern(
        run_folder=run_folder.path,
        cell=cell,
        record=read_record(folder.record),
        files={
            path.relative_to(folder.path): path.read_bytes()
            for path in _small_files(folder.path)
            if path != folder.record
        },
    )


def _small_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in LEFT_OUT_FOLDERS and not path.name.startswith("sandbox"):
                yield from _small_files(path)
        elif path.name not in LEFT_OUT_FILES:
            yield path


def fill(
    run_folder: RunFolder,
    run: Run,
    patterns: Mapping[str, Pattern],
    *,
    recorded: int,
    interrupted: int = 0,
) -> None:
    """Leave in a run folder what its first cells would have left.

    Args:
        run_folder: The folder.
        run: Its head.
        patterns: Finished cells by ``base``, ``clean`` and ``cheat``.
        recorded: Number of cells that have ended, the first of the plan.
        interrupted: Number of cells after them whose supervisor died while the agent worked.
    """
    source = random.Random(0)
    for number, cell in enumerate(run.cells[: recorded + interrupted]):
        pattern = patterns[_kind(cell, source)]
        if number < recorded:
            _write_files(run_folder, cell, pattern, pattern.files)
            record = _record(pattern.record, cell, run.plan, source)
            content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
            run_folder.cell(cell.id).record.write_bytes(content)
        else:
            _write_files(run_folder, cell, pattern, _cut_off(pattern.files))


def _kind(cell: CellSpec, source: random.Random) -> str:
    if cell.kind == "base":
        return "base"
    return "cheat" if source.random() < FLAGGED_SHARE else "clean"


def _write_files(
    run_folder: RunFolder, cell: CellSpec, pattern: Pattern, files: Mapping[Path, bytes]
) -> None:
    folder = run_folder.cell(cell.id).path
    old_run, new_run = str(pattern.run_folder).encode(), str(run_folder.path).encode()
    for relative, content in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content.replace(old_run, new_run)
        path.write_bytes(content.replace(pattern.cell.encode(), cell.id.encode()))


def _cut_off(files: Mapping[Path, bytes]) -> dict[Path, bytes]:
    """Return what stands while an agent works: no later marker, the journal up to its start."""
    kept = {path: content for path, content in files.items() if _is_early(path)}
    story = Path("journal.jsonl")
    begun = files[story].split(b"\n")
    until = next(number for number, line in enumerate(begun) if b'"solve"' in line) + 1
    return {**kept, story: b"\n".join(begun[:until]) + b"\n"}


def _is_early(path: Path) -> bool:
    if path.parts[0] != "stages":
        return path.suffix != ".released"
    stage = path.parts[1]
    return stage == "prepare" or (stage == "solve" and path.name == "live.json")


def _record(pattern: Record, cell: CellSpec, plan: Plan, source: random.Random) -> Record:
    assert pattern.evaluation is not None
    return replace(
        pattern,
        cell=cell,
        agent_id=plan.agent_ids[cell.agent.name] if cell.agent else None,
        condition_id=plan.condition_id,
        evaluation=_scored(pattern.evaluation, source.random()),
        created_unix_s=time.time(),
    )


def _scored(evaluation: Evaluation, value: float) -> Evaluation:
    scores = {
        scoring: replace(score, value=value, stderr=0.02)
        for scoring, score in evaluation.scores.items()
    }
    return replace(evaluation, scores=scores)
