"""A grader for a cell of a run, or for a folder of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ptb_core.errors import Fault, InputFileError
from ptb_core.evaluation.exchange import GRADER_PROMPT
from ptb_core.grading.grader import GraderPlace, OpenAiGrader
from ptb_core.grading.terms import GraderTerms, terms_in_force
from ptb_core.plan.grader import GraderReader
from ptb_core.specs import JsonValue
from ptb_core.stages.context import Prepared, StageContext


def grader_of(context: StageContext) -> OpenAiGrader | None:
    """Return the grader of a cell, or None when its task needs none.

    Replies are kept in the cell's folder, for every later scoring of it; what they cost is booked
    for the whole run.

    Raises:
        RecordError: If the run's terms or the cell's data are damaged.
    """
    terms = terms_of_cell(context)
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


def terms_of_cell(context: StageContext) -> GraderTerms | None:
    """Return the terms under which a cell is graded, or None when its task needs no grader.

    Raises:
        RecordError: If the run's terms are damaged.
    """
    if not context.catalogue.task_spec(context.cell.task).needs_grader:
        return None
    return terms_in_force(context.run_folder, context.run)


def read_terms(
    task: str,
    data: Mapping[str, JsonValue],
    folder: Path,
    source: str,
    in_words_of_source: Callable[[Fault], Fault] = lambda fault: fault,
) -> GraderTerms:
    """Return the terms for grading one task without a plan.

    Args:
        task: The task's name.
        data: What a plan would say, its form right: the keys ``grader``, ``budgets`` and
            ``prices``, each of which may be absent.
        folder: Folder that paths of wordings start from.
        source: Who says so, for faults: a file, or a command line.
        in_words_of_source: Returns a fault of a plan in the words of the source.

    Raises:
        InputFileError: If something is wrong; lists every fault.
    """
    found: list[Fault] = []

    def fault(path: str, what: str, expected: str) -> None:
        found.append(in_words_of_source(Fault(path=path, found=what, expected=expected)))

    reader = GraderReader(data, folder, fault)
    spec = reader.grader([task])
    price = reader.price(spec)
    if found:
        raise InputFileError(source, tuple(found))
    budget_usd = data.get("budgets", {}).get("grader_usd")
    return GraderTerms(grader=spec, price=price, budget_usd=budget_usd)


def _grading_only(prompts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in prompts.items() if name == GRADER_PROMPT}
