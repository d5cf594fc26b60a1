"""The program runner of a cell's scoring."""

from __future__ import annotations

from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner
from ptb_core.stages.context import Prepared, StageContext
from ptb_core.stages.prepare import hidden_paths


def programs_of(context: StageContext) -> SandboxProgramRunner | None:
    """Return who runs the cell's programs, or None when its task has none.

    The plan's sandbox runs them; the run's folder, caches and data files are hidden.
    """
    if not context.catalogue.task(context.cell.task).spec.needs_programs:
        return None
    chosen = context.run.plan.sandbox
    name = f"{context.run.run_id}-{context.cell.id}-execute-{context.fence}-{context.attempt}"
    return SandboxProgramRunner(
        ProgramSandbox(
            sandbox=context.catalogue.sandbox(chosen.name),
            name=name,
            root=context.attempt_dir / f"programs-{context.fence}",
            hidden=hidden_paths(context.run_folder.path, context.result("prepare", Prepared)),
            image=chosen.image,
            settings=chosen.settings,
        )
    )
