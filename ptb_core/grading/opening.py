"""A grader for a cell of a run, or for a folder of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ptb_core.evaluation.exchange import GRADER_PROMPT
from ptb_core.grading.grader import GraderPlace, OpenAiGrader
from ptb_core.grading.terms import GraderTerms, terms_in_force
from ptb_core.stages.context import Prepared, StageContext


def grader_of(context: StageContext) -> OpenAiGrader | None:
    """Return the grader of a cell, or None when its task needs none.

    Replies are kept in the cell's folder, for every later scoring of it; what they cost is booked
    for the whole run.

    Raises:
        RecordError: If the run's terms or the cell's data are damaged.
    """
    if "grader" not in context.catalogue.task_spec(context.cell.task).needs:
        return None
    terms = terms_in_force(context.run_folder, context.run)
    if terms is None:
        return None
    place = GraderPlace(
        replies=context.folder.graded, ledger=context.run_folder.grading, scope=context.cell.id
    )
    prompts = context.result("prepare", Prepared).prompts
    return OpenAiGrader(terms, place, prompts=_grading_only(prompts))


def open_grader(
    terms: GraderTerms, folder: Path, *, scope: str, prompts: Mapping[str, str] | None = None
) -> OpenAiGrader:
    """Return a grader that keeps everything below one folder.

    Args:
        terms: Which grader, and what it may cost.
        folder: Where replies (``graded/``) and costs (``grading/``) are kept.
        scope: What is spent on, in words, such as a task's name.
        prompts: Wordings of the task by name.
    """
    place = GraderPlace(replies=folder / "graded", ledger=folder / "grading", scope=scope)
    return OpenAiGrader(terms, place, prompts=_grading_only(prompts or {}))


def _grading_only(prompts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in prompts.items() if name == GRADER_PROMPT}
