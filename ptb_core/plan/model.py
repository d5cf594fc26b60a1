"""The plan as data; ``schemas/plan.schema.json`` describes the file's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ptb_core.baselines import Baselines
from ptb_core.sandboxing import Limits
from ptb_core.specs import (
    AgentSpec,
    CellSpec,
    ComponentChoice,
    Condition,
    GraderSpec,
    JsonValue,
    ProtocolSpec,
    TokenPrice,
)

ACCEPT_LOCAL_LLM = "an outside LLM may run commands with the rights of this host's user"
"""The words a plan must repeat to run an outside LLM in a sandbox that does not isolate it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxChoice:
    """The plan's sandbox: name, settings, limits of the agent's session, image, accepted risks."""

    name: str
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    limits: Limits = Limits()
    image: str | None = None
    accept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Money limits on LLM calls, in US dollars; None means none.

    Attributes:
        run_usd: Agents of the whole run.
        cell_usd: Agents of each cell.
        grader_usd: Grading of the whole run, all its scorings together. Requests that break off
            or time out without a reply are not booked on it, though the endpoint may bill them.
    """

    run_usd: float | None = None
    cell_usd: float | None = None
    grader_usd: float | None = None


CheckpointRule: TypeAlias = Literal["all", "best", "after-verdict", "none"]
WorkspaceRule: TypeAlias = Literal["whole", "without-copies", "without-weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What of a recorded cell stays on the disk; no part of the condition.

    The defaults lose nothing: a checkpoint takes GPU-hours to get again, and neither
    ``ptb reevaluate`` nor a judge that looks at weights can do without it.

    Attributes:
        checkpoints: ``all`` stay. ``best``: of each agent x task x model that counts with own
            scores, the best one's over the repeats. ``after-verdict``: that of a cell which
            counts with its own score goes. ``none``: goes once the cell is recorded. Under
            ``best`` and ``after-verdict`` the checkpoint of a cell that is missing stays, because
            it is needed to resolve it, and that of a cell that counts as base, because it is the
            evidence against its agent.
        workspaces: ``whole``; ``without-copies``: the agent's copy of weights goes that the
            sealed checkpoint holds with the same digest; ``without-weights``: where the cell
            counts with its own score, other weights that it left lying about go, too.
    """

    checkpoints: CheckpointRule = "all"
    workspaces: WorkspaceRule = "without-copies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, with defaults filled in, paths absolute and cells expanded.

    Attributes:
        name: Name of the plan.
        tasks: Names of the tasks.
        models: Names of the base models.
        agents: Agents; their settings have defaults filled in and absolute paths.
        agent_ids: Id of each agent by name: a hash of its canonical content (files by their
            content) and its scaffold's version.
        repeats: Times each cell is run.
        condition: The condition.
        condition_id: Hash of condition, protocol and grader.
        sandbox: The sandbox.
        engine: The engine.
        executor: The executor.
        judges: The judges.
        protocol: The protocol.
        budgets: Money limits.
        baselines: Whether base scores are measured by the run, the published ones, or those of a
            file that the plan declares.
        weights: Weight of each task of the plan, summing to 1.
        weights_note: How the weights came about, for readers.
        gpu_hour_usd: Price of a GPU-hour for the estimate.
        seed: Seed handed to agents.
        cells: All cells, base cells first.
        description: What the plan is for.
        obstacles: Why this machine cannot run the plan, one sentence each; empty when it can.
        retention: What of a recorded cell stays on the disk.
        declared: What the declared file of baselines holds, or None.
        grader: Who grades the tasks that need a grader; None when no task of the plan does.
        grader_price: What it costs, or None when nobody knows.
    """

    name: str
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    agents: tuple[AgentSpec, ...]
    agent_ids: Mapping[str, str]
    repeats: int
    condition: Condition
    condition_id: str
    sandbox: SandboxChoice
    engine: ComponentChoice
    executor: ComponentChoice
    judges: tuple[ComponentChoice, ...]
    protocol: ProtocolSpec
    budgets: Budgets
    baselines: Literal["measured", "published", "declared"]
    weights: Mapping[str, float]
    weights_note: str
    gpu_hour_usd: float
    seed: int
    cells: tuple[CellSpec, ...]
    description: str = ""
    obstacles: tuple[str, ...] = ()
    retention: Retention = Retention()
    declared: Baselines | None = None
    grader: GraderSpec | None = None
    grader_price: TokenPrice | None = None
