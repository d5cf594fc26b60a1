"""What a plan will take: cells, GPU-hours, money."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING

from ptb_core.plan.model import Plan

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue

EVALUATION_HOURS = 1.0
"""Assumed GPU time of generating one cell's answers. Source: an assumption of this project; the
published runs allow up to 8 hours per try and do not publish the time used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An upper estimate of a plan.

    Attributes:
        agent_cells: Cells in which an agent works.
        base_cells: Measurements of base models.
        agent_hours: Wall-clock hours of all agents together.
        gpu_hours: GPU-hours of agents and evaluations together.
        gpu_usd: Price of these.
        llm_usd: Limit on LLM calls by the plan's budget; None when there is no limit.
    """

    agent_cells: int
    base_cells: int
    agent_hours: float
    gpu_hours: float
    gpu_usd: float
    llm_usd: float | None

    @property
    def sentence(self) -> str:
        """The estimate in one line."""
        cells = f"{self.agent_cells} agent cells + {self.base_cells} base cells"
        gpu = f"up to {self.gpu_hours:,.1f} GPU-hours (about {self.gpu_usd:,.0f} USD)"
        hours = f"up to {self.agent_hours:,.2f} agent hours"
        return f"{cells}; {hours}; {gpu}; {self._llm_words}"

    @property
    def _llm_words(self) -> str:
        if self.llm_usd is None:
            return "LLM calls: no limit set (budgets.run_usd)"
        return f"LLM calls: at most {self.llm_usd:,.2f} USD"


def describe_plan(plan: Plan, catalogue: Catalogue) -> list[str]:
    """Return what `ptb validate` prints: size, price, weights, and what keeps it from running."""
    condition, protocol = plan.condition, plan.protocol
    lines = [
        f"plan {plan.name}: valid",
        f"  {len(plan.tasks)} tasks x {len(plan.models)} models x {len(plan.agents)} agents"
        f" x {plan.repeats} repeats, condition {plan.condition_id}",
        f"  {estimate_of(plan, catalogue).sentence}",
        f"  protocol {protocol.name} ({protocol.requests} requests, {protocol.scoring} scoring);"
        f" network {condition.network}; development evaluation {condition.dev_evaluation}",
        f"  weights ({plan.weights_note}): "
        + ", ".join(f"{name} {weight:.4f}" for name, weight in plan.weights.items()),
    ]
    if plan.obstacles:
        lines.append("cannot run on this machine:")
        lines += [indent(obstacle, "  ") for obstacle in plan.obstacles]
    return lines


def estimate_of(plan: Plan, catalogue: Catalogue) -> Estimate:
    """Estimate a plan from above; LLM calls cost nothing when no agent runs an outside LLM."""
    scaffolds = {agent.scaffold for agent in plan.agents}
    outside_llm = any(
        getattr(catalogue.spec("scaffold", name), "runs_outside_llm", False) for name in scaffolds
    )
    agent_cells = [cell for cell in plan.cells if cell.kind == "agent"]
    base_cells = len(plan.cells) - len(agent_cells)
    agent_hours = len(agent_cells) * plan.condition.hours
    evaluations = EVALUATION_HOURS * len(plan.cells) if plan.condition.gpus else 0.0
    gpu_hours = agent_hours * plan.condition.gpus + evaluations
    return Estimate(
        agent_cells=len(agent_cells),
        base_cells=base_cells,
        agent_hours=agent_hours,
        gpu_hours=gpu_hours,
        gpu_usd=gpu_hours * plan.gpu_hour_usd,
        llm_usd=_llm_limit(plan, len(agent_cells)) if outside_llm else 0.0,
    )


def _llm_limit(plan: Plan, cells: int) -> float | None:
    limits = [plan.budgets.run_usd]
    if plan.budgets.cell_usd is not None:
        limits.append(plan.budgets.cell_usd * cells)
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None
