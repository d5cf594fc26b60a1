"""The program runner of a cell's scoring."""

from __future__ import annotations

from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner
from ptb_core.hidden import hidden_paths
from ptb_core.stages.context import Prepared, StageContext


def programs_of(context: StageContext) -> SandboxProgramRunner | None:
    """Return who runs the cell's programs, or None when its task has none.

    The plan's sandbox runs them; the run's folder, caches and data files are hidden.
    """
    if not context.catalogue.task(context.cell.task).spec.needs_programs:
        return None
    chosen, prepared = context.run.plan.sandbox, context.result("prepare", Prepared)
    name = f"{context.run.run_id}-{context.cell.id}-execute-{context.fence}-{context.attempt}"
    return SandboxProgramRunner(
        ProgramSandbox(
            sandbox=context.catalogue.sandbox(chosen.name),
            name=name,
            root=context.attempt_dir / f"programs-{context.fence}",
            hidden=hidden_paths(context.run_folder.path, prepared.data_files.values()),
            image=chosen.image,
            settings=chosen.settings,
        )
    )
