"""prepare: model, data and prompts are on this machine, checked and pinned."""

from __future__ import annotations

from ptb_core.evaluation.exchange import DataDir
from ptb_core.evaluation.samples import samples_of
from ptb_core.fetch import ensure_data, ensure_model
from ptb_core.specs import GraderSpec
from ptb_core.stages.context import Prepared, StageContext


def prepare(context: StageContext) -> Prepared:
    """Bring everything the cell needs into the cache, or find it there.

    Raises:
        DataError: If something cannot be had; the sentence says how to get it.
    """
    task = context.catalogue.task(context.cell.task)
    model = context.catalogue.model(context.cell.model)
    files = ensure_model(model)
    data = with_plans_wording(ensure_data(task.spec), context.run.plan.grader, task.spec.name)
    samples_of(task, data)  # what is wrong with them is told before the agent starts
    return Prepared(
        base_model=files.path,
        model_revision=files.revision,
        data_files=data.files,
        prompts=data.prompts,
        revisions=data.revisions,
    )


def with_plans_wording(data: DataDir, grader: GraderSpec | None, task: str) -> DataDir:
    """Return a task's data with the wording that the plan gives its grader, if it gives one."""
    text = grader.prompts.get(task) if grader is not None else None
    return data if text is None else data.with_grader_prompt(text)


def data_dir_of(prepared: Prepared) -> DataDir:
    """Return the task's data as it was prepared."""
    return DataDir(
        files=prepared.data_files, prompts=prepared.prompts, revisions=prepared.revisions
    )
