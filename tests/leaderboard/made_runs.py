"""Run folders made by the project's own writers, with records of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptb_core.baselines import Baselines
from ptb_core.evaluation.exchange import TaskScore
from ptb_core.integrity import Citation, Finding, Verdict
from ptb_core.plan.expand import Matrix, expand
from ptb_core.plan.model import Budgets, Plan, SandboxChoice
from ptb_core.record_store import write_record
from ptb_core.records import Attempt, Evaluation, Record, Solve
from ptb_core.run_head import Run, encode_head
from ptb_core.sandboxing import SandboxFacts
from ptb_core.specs import (
    AgentSpec,
    CellSpec,
    ComponentChoice,
    Condition,
    GraderSpec,
    LlmSpec,
    ProtocolSpec,
    Sampling,
)
from ptb_core.traces import Usage

STRICT = ProtocolSpec(name="strict", requests="seeded", scoring="repaired")


@dataclass(kw_only=True)
class RunMaker:
    """Makes one run folder; records are written by :meth:`add`."""

    folder: Path
    run_id: str = "run-a"
    tasks: Sequence[str] = ("gsm8k",)
    models: Sequence[str] = ("tiny",)
    agents: Sequence[str] = ("alice", "bob")
    agent_ids: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 1
    hours: float = 10
    condition_id: str = "c0ffee"
    protocol: ProtocolSpec = STRICT
    engine: str | tuple[str, Mapping[str, Any]] = "transformers"
    weights: Mapping[str, float] = field(default_factory=dict)
    baselines: str = "measured"
    declared: Baselines | None = None
    grader: GraderSpec | None = None
    exclude: Sequence[Mapping[str, Any]] = ()
    created_unix_s: float = 1000.0

    @property
    def cells(self) -> dict[str, CellSpec]:
        condition = Condition(hours=self.hours, gpus=1)
        matrix = Matrix(
            tasks=self.tasks,
            models=self.models,
            agents=[AgentSpec(name=name, scaffold="script") for name in self.agents],
            repeats=self.repeats,
            include=(),
            exclude=self.exclude,
            condition=condition,
            protocol=self.protocol,
            seed=1,
            measure_base=self.baselines == "measured",
        )
        return {cell.id: cell for cell in expand(matrix)}

    @property
    def ids(self) -> dict[str, str]:
        return {name: self.agent_ids.get(name, f"id-of-{name}") for name in self.agents}

    @property
    def _engine(self) -> ComponentChoice:
        name, settings = (self.engine, {}) if isinstance(self.engine, str) else self.engine
        return ComponentChoice(name=name, settings=settings)

    def make(self) -> Path:
        """Write ``run.json`` and return the folder."""
        plan = Plan(
            name="demo",
            tasks=tuple(self.tasks),
            models=tuple(self.models),
            agents=tuple(AgentSpec(name=name, scaffold="script") for name in self.agents),
            agent_ids=self.ids,
            repeats=self.repeats,
            condition=Condition(hours=self.hours, gpus=1),
            condition_id=self.condition_id,
            sandbox=SandboxChoice(name="local"),
            engine=self._engine,
            executor=ComponentChoice(name="local"),
            judges=(),
            protocol=self.protocol,
            budgets=Budgets(),
            baselines=self.baselines,  # type: ignore[arg-type]
            weights=self.weights,
            weights_note="",
            gpu_hour_usd=0.0,
            seed=1,
            cells=tuple(self.cells.values()),
            declared=self.declared,
            grader=self.grader,
        )
        run = Run(run_id=self.run_id, created_unix_s=1.0, plan=plan, plan_id="p", software={})
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.json").write_bytes(encode_head(run))
        return self.folder

    def record(self, cell_id: str, score: float | None = None, **changes: Any) -> Record:
        """Return a clean, complete record with ``score`` both ways, with changes."""
        cell = self.cells[cell_id]
        facts: dict[str, Any] = {
            "cell": cell,
            "agent_id": self.ids[cell.agent.name] if cell.agent else None,
            "condition_id": self.condition_id,
            "counts": "own",
            "reason": "",
            "evaluation": None
            if score is None
            else evaluation(score, counted=self.protocol.scoring),
            "verdict": None if cell.agent is None else "clean",
            "verdicts": (),
            "solve": None,
            "submission": "sealed",
            "attempts": (),
            "sandboxes": {},
            "lock": {},
            "created_unix_s": self.created_unix_s,
        }
        return Record(**(facts | changes))

    def add(self, cell_id: str, score: float | None = None, **changes: Any) -> Path:
        """Write the record of a cell and return its file."""
        path = self.folder / "cells" / cell_id / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, self.record(cell_id, score, **changes))
        return path

    def flag(self, cell_id: str, score: float | None, *kinds: str) -> Path:
        """Write the record of a flagged cell."""
        return self.add(
            cell_id,
            score,
            counts="base",
            reason="flagged: " + ", ".join(kinds),
            verdict="flagged",
            verdicts=(verdict("flagged", *kinds),),
        )


def evaluation(score: float, published: float | None = None, **changes: Any) -> Evaluation:
    both = {
        "published": TaskScore(value=score if published is None else published, stderr=0.1, n=10),
        "repaired": TaskScore(value=score, stderr=0.1, n=10),
    }
    facts: dict[str, Any] = {
        "complete": True,
        "n_expected": 10,
        "n_scored": 10,
        "scores": both,
        "counted": "repaired",
    }
    return Evaluation(**(facts | changes))


def verdict(outcome: str, *kinds: str) -> Verdict:
    findings = tuple(
        Finding(violation=kind, summary="It does.", citations=(Citation(path="workspace/a.py"),))
        for kind in kinds
    )
    return Verdict(judge="rules", version="1", outcome=outcome, findings=findings)  # type: ignore[arg-type]


def full_record(maker: RunMaker) -> Record:
    """Return a record in which every field has a value and no list is empty."""
    cell_id = next(cell.id for cell in maker.cells.values() if cell.agent)
    agent = AgentSpec(
        name="alice",
        scaffold="script",
        llm=LlmSpec(provider="provider", model="llm-1"),
        settings={"effort": "high"},
        auth="gateway",
    )
    protocol = ProtocolSpec(
        name="strict",
        requests="seeded",
        scoring="repaired",
        sampling=Sampling(seed=7, temperature=0.6, top_p=0.95, top_k=20),
        max_tokens=512,
        limit=50,
    )
    cell = maker.cells[cell_id]
    found = Citation(
        path="workspace/train.jsonl",
        line=3,
        excerpt="What is 6 times 7?",
        item_id="test-1",
        expected="What is six times seven?",
        score=0.9,
    )
    return maker.record(
        cell_id,
        cell=CellSpec(
            id=cell.id,
            kind="agent",
            task=cell.task,
            model=cell.model,
            agent=agent,
            repeat=1,
            condition=Condition(hours=0.5, gpus=1, gpu_name="H100", network="gateway"),
            protocol=protocol,
            base_cell=cell.base_cell,
            seed=11,
        ),
        counts="base",
        reason="flagged: test-data-in-training",
        evaluation=Evaluation(
            complete=True,
            n_expected=2,
            n_scored=2,
            scores={
                "published": TaskScore(
                    value=0.5, stderr=0.5, n=2, breakdowns={"easy": 1.0}, marks={"truncated": 1}
                ),
                "repaired": TaskScore(value=0.5, stderr=None, n=2),
            },
            counted="repaired",
            details={"max_tokens": 512, "engine": {"name": "transformers"}},
        ),
        verdict="flagged",
        verdicts=(
            Verdict(
                judge="rules",
                version="1",
                outcome="flagged",
                findings=(
                    Finding(
                        violation="test-data-in-training",
                        summary="A test item is in the training data.",
                        citations=(found,),
                    ),
                ),
                notes=("one file could not be read",),
                facts={"files": 12},
            ),
        ),
        solve=Solve(
            outcome="finished",
            detail="It said so.",
            seconds=12.5,
            usage=Usage(
                input_tokens=10,
                cached_tokens=5,
                output_tokens=4,
                reasoning_tokens=2,
                cost_usd=0.25,
            ),
            exit_code=0,
        ),
        attempts=(
            Attempt(
                stage="solve",
                number=1,
                outcome="failed",
                started_unix_s=1.0,
                ended_unix_s=2.0,
                reason="the sandbox was lost",
            ),
        ),
        sandboxes={
            "solve": SandboxFacts(
                isolation="bwrap",
                description="Namespaces of its own.",
                network_enforced=True,
                enforced_limits=("processes",),
                image_digest="sha256:00",
                devices=("0",),
            )
        },
        lock={"software": {"posttrainbench": "0.1.0"}},
    )
