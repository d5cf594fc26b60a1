"""What a plan will take: cells, GPU-hours, money."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING

from ptb_core.grading.prices import TokenUse, cost_usd
from ptb_core.plan.model import Plan
from ptb_core.specs import TaskSpec

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue

EVALUATION_HOURS = 1.0
"""Assumed GPU time of generating one cell's answers. Source: an assumption of this project; the
published runs allow up to 8 hours per try and do not publish the time used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderEstimate:
    """What the final scorings of a plan will ask its grader: about, and once.

    Questions that are put again, scorings that are repeated and what agents have graded while
    they work come on top.

    Attributes:
        model: The grader's model.
        questions: Questions of all cells whose number is known.
        unknown_tasks: Graded tasks that do not say how much is asked.
        usd: What these questions cost; None when the price is not known.
        limit_usd: Limit by the plan's budget; None when there is none.
    """

    model: str
    questions: int
    unknown_tasks: tuple[str, ...]
    usd: float | None
    limit_usd: float | None

    @property
    def sentence(self) -> str:
        """The estimate in one line."""
        price = "price not known" if self.usd is None else f"about {self.usd:,.2f} USD"
        limit = "no limit set (budgets.grader_usd)"
        if self.limit_usd is not None:
            scarce = self.usd is not None and self.limit_usd < self.usd
            limit = f"at most {self.limit_usd:,.2f} USD and what is then under way"
            limit += ", likely too little for all" if scarce else ""
        unknown = f", not counting {', '.join(self.unknown_tasks)}" if self.unknown_tasks else ""
        return f"grader {self.model}: about {self.questions:,} questions{unknown}; {price}; {limit}"


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
        grader: What the grader will be asked; None when no task needs one.
    """

    agent_cells: int
    base_cells: int
    agent_hours: float
    gpu_hours: float
    gpu_usd: float
    llm_usd: float | None
    grader: GraderEstimate | None = None

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
    from ptb_core.leaderboard.wording import protocol_words

    condition = plan.condition
    estimate = estimate_of(plan, catalogue)
    lines = [
        f"plan {plan.name}: valid",
        f"  {len(plan.tasks)} tasks x {len(plan.models)} models x {len(plan.agents)} agents"
        f" x {plan.repeats} repeats, condition {plan.condition_id}",
        f"  {estimate.sentence}",
        *([f"  {estimate.grader.sentence}"] if estimate.grader is not None else []),
        f"  protocol {protocol_words(plan.protocol)}",
        f"  network {condition.network}; development evaluation {condition.dev_evaluation}",
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
        grader=_grader_estimate(plan, catalogue),
    )


def _grader_estimate(plan: Plan, catalogue: Catalogue) -> GraderEstimate | None:
    if plan.grader is None:
        return None
    specs = [catalogue.task_spec(name) for name in plan.tasks]
    graded = {spec.name: spec for spec in specs if spec.needs_grader}
    asked = [_asked(graded[cell.task], plan) for cell in plan.cells if cell.task in graded]
    price, uses = plan.grader_price, [use for _, use in asked]
    return GraderEstimate(
        model=plan.grader.model,
        questions=sum(questions for questions, _ in asked),
        unknown_tasks=tuple(name for name, spec in graded.items() if spec.grading is None),
        usd=None if price is None else sum(cost_usd(use, price) for use in uses),
        limit_usd=plan.budgets.grader_usd,
    )


def _asked(task: TaskSpec, plan: Plan) -> tuple[int, TokenUse]:
    """Return the questions of one cell, and the tokens they take."""
    if task.grading is None:
        return 0, TokenUse()
    share = min(1.0, (plan.protocol.limit or task.n_samples) / task.n_samples)
    questions = round(task.grading.questions * share * max(1, len(plan.protocol.seeds)))
    return questions, TokenUse(
        input_tokens=questions * task.grading.input_tokens,
        output_tokens=questions * task.grading.output_tokens,
    )


def _llm_limit(plan: Plan, cells: int) -> float | None:
    limits = [plan.budgets.run_usd]
    if plan.budgets.cell_usd is not None:
        limits.append(plan.budgets.cell_usd * cells)
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None
