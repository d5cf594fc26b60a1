"""A grader for a cell of a run, or for a folder of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ptb_core.errors import Fault, InputFileError, UsageError
from ptb_core.evaluation.exchange import GRADER_PROMPT
from ptb_core.grading.endpoint import key_obstacle
from ptb_core.grading.grader import GraderPlace, OpenAiGrader
from ptb_core.grading.terms import GraderTerms, terms_in_force
from ptb_core.plan.grader import GraderReader
from ptb_core.specs import JsonValue, TaskSpec
from ptb_core.stages.context import Prepared, StageContext


def grader_of(context: StageContext) -> OpenAiGrader | None:
    """Return the grader of a cell, or None when its task needs none.

    Replies are kept in the cell's folder, for every later scoring of it; what they cost is booked
    for the whole run.

    Raises:
        RecordError: If the run's terms or the cell's data are damaged.
    """
    if not context.catalogue.task_spec(context.cell.task).needs_grader:
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


def terms_for(
    task: TaskSpec, data: Mapping[str, JsonValue], folder: Path, source: str
) -> GraderTerms | None:
    """Return the terms for grading one task without a plan, or None when it needs no grader.

    Args:
        task: The task.
        data: What a plan would say, its form right: the keys ``grader``, ``budgets`` and
            ``prices``, each of which may be absent.
        folder: Folder that paths of wordings start from.
        source: Who says so, for faults: a file, or a command line.

    Raises:
        InputFileError: If something is wrong; lists every fault.
        UsageError: If this machine has no key.
    """
    if not task.needs_grader:
        return None
    found: list[Fault] = []

    def fault(path: str, what: str, expected: str) -> None:
        found.append(Fault(path=path, found=what, expected=expected))

    reader = GraderReader(data, folder, fault)
    spec = reader.grader((task.name,))
    price = reader.price(spec)
    if found:
        raise InputFileError(source, tuple(found))
    obstacle = key_obstacle(spec)
    if obstacle is not None:
        raise UsageError(f"{obstacle}; nothing was started")
    budget_usd = data.get("budgets", {}).get("grader_usd")
    return GraderTerms(grader=spec, price=price, budget_usd=budget_usd)


def _grading_only(prompts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in prompts.items() if name == GRADER_PROMPT}
