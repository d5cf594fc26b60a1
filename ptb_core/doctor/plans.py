"""Which shipped plans can run on this machine, and what the others lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptb_core.catalogue import Catalogue
from ptb_core.data import data_dir
from ptb_core.doctor.findings import Finding, ok, warning
from ptb_core.errors import PtbError
from ptb_core.plan import Plan, load_plan


def findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Yield a line per shipped plan."""
    for path in sorted((data_dir() / "plans").glob("*.json")):
        yield plan_finding(path, catalogue)


def plan_finding(path: Path, catalogue: Catalogue) -> Finding:
    """Return whether a plan can run here."""
    name = path.stem
    try:
        plan = load_plan(path, catalogue)
    except PtbError as error:
        advice = "bring back the plugins that it needs: `ptb plugins` lists them"
        return warning(f"{name}: names what is not here", advice, *str(error).splitlines()[1:])
    if plan.obstacles:
        count = len(plan.obstacles)
        fact = f"{name}: cannot run here, for {count} reason{'' if count == 1 else 's'}"
        advice = "do as each says, or write a plan with what is usable: `ptb list`"
        details = [line for obstacle in plan.obstacles for line in obstacle.splitlines()]
        return warning(fact, advice, *details)
    if _is_complete(plan, catalogue):
        return ok(f"{name}: can run here, with nothing to fetch")
    return ok(f"{name}: can run here, once `ptb prefetch {name}` has found its models and data")


def _is_complete(plan: Plan, catalogue: Catalogue) -> bool:
    """Return whether everything that a plan needs ships with the project."""
    tasks = [catalogue.task_spec(name) for name in plan.tasks]
    sources = [file.source for task in tasks for file in task.data]
    sources += [catalogue.model(name).source for name in plan.models]
    return all(source.packaged for source in sources) and not any(task.prompts for task in tasks)
