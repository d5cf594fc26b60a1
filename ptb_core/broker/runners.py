"""Who performs the checks of a development evaluation, and what its grading may cost.

Programs run in the plan's sandbox and questions go to the plan's grader, as in the final scoring.
Replies are kept apart from those that the final scoring uses: a verdict that came out well by
chance must not be what a checkpoint was chosen for and is then scored by.
"""

from __future__ import annotations

import time
from pathlib import Path

from ptb_core.broker.scoring import RefusedError
from ptb_core.evaluation.checking import Runners
from ptb_core.evaluation.dev_modes import is_scored_outside
from ptb_core.execution.stage import programs_of
from ptb_core.grading.grader import GraderPlace, OpenAiGrader
from ptb_core.grading.ledger import Ledger
from ptb_core.grading.opening import terms_of_cell
from ptb_core.stages.context import StageContext

DEVELOPMENT_SHARE = 0.5
"""Part of a run's budget for grading that development may take, split evenly over the cells that
are graded; the rest is for final scores. A cell's part may be passed by one scoring."""


def runners_of(context: StageContext, folder: Path) -> Runners:
    """Return who performs the checks of one scoring.

    Args:
        context: The cell's context.
        folder: Where the grader's replies are kept.

    Raises:
        RefusedError: If the cell's part of the budget is spent.
        RecordError: If the run's terms or bookings are damaged.
    """
    return Runners(programs=programs_of(context), grader=_grader_of(context, folder))


def _grader_of(context: StageContext, folder: Path) -> OpenAiGrader | None:
    terms = terms_of_cell(context)
    if terms is None:
        return None
    place = GraderPlace(
        replies=folder / "graded",
        ledger=context.run_folder.grading,
        scope=f"{context.cell.id} development",
    )
    if terms.budget_usd is not None:
        part = terms.budget_usd * DEVELOPMENT_SHARE / max(1, _graded_cells(context))
        spent = Ledger(place.ledger, place.scope, time.monotonic).of_scope().usd
        if spent >= part:
            raise RefusedError(
                f"this cell's part of the budget for grading during development is spent "
                f"({spent:.4g} of {part:.4g} USD)"
            )
    return OpenAiGrader(terms, place)


def _graded_cells(context: StageContext) -> int:
    plan = context.run.plan
    return sum(
        cell.kind == "agent"
        and context.catalogue.task_spec(cell.task).needs_grader
        and is_scored_outside(context.catalogue.task_spec(cell.task), plan.condition)
        for cell in plan.cells
    )
