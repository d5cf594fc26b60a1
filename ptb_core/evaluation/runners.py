"""Who performs a task's checks in an evaluation that stands alone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.errors import UsageError
from ptb_core.hidden import hidden_paths

if TYPE_CHECKING:
    from ptb_core.errors import Fault
    from ptb_core.evaluation.checking import Runners
    from ptb_core.evaluation.evaluate import EvaluationJob
    from ptb_core.grading.terms import GraderTerms
    from ptb_core.specs import JsonValue

PROGRAMS = "programs-*"
"""Folders that running programs may leave in an evaluation's folder, as a pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderOptions:
    """What a command line says of the grader; None leaves it to the default.

    Attributes:
        model: Model, as the endpoint names it.
        base_url: Address of the API.
        api_key_env: Variable that holds the key; ``none`` sends none.
        prompt: File with another wording for the task's grader.
        budget_usd: What grading may cost.
    """

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    prompt: Path | None = None
    budget_usd: float | None = None


def grader_terms(options: GraderOptions, task: str) -> GraderTerms:
    """Return which grader is asked about a task's answers, and what it may cost.

    Raises:
        InputFileError: If the options name none that can be asked.
    """
    from ptb_core.grading.opening import read_terms

    return read_terms(
        task,
        _as_a_plan_says(options, task),
        Path.cwd(),
        "the grader that the options ask for",
        _as_an_option,
    )


def require_key(terms: GraderTerms, *, of_a_plan: bool) -> None:
    """Make sure before anything is asked that there is a key for the grader.

    Args:
        terms: The grader.
        of_a_plan: Whether a plan names it, rather than options; only words depend on it.

    Raises:
        UsageError: If not.
    """
    from ptb_core.grading.endpoint import key_obstacle

    where = "in the plan's `grader`" if of_a_plan else "with --grader-url and --grader-key-env"
    obstacle = key_obstacle(terms.grader, where)
    if obstacle is not None:
        raise UsageError(obstacle)


def runners_for(job: EvaluationJob, folder: Path) -> Runners:
    """Return who performs the checks of a task; None for what it does not need.

    Args:
        job: The evaluation, which names sandbox and grader.
        folder: The evaluation's folder, where replies of the grader and costs are kept.
    """
    from ptb_core.evaluation.checking import Runners
    from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner
    from ptb_core.grading.opening import open_grader

    name = job.task.spec.name
    programs = grader = None
    if job.task.spec.needs_programs:
        root = folder / PROGRAMS.replace("*", secrets.token_hex(4))
        programs = SandboxProgramRunner(
            ProgramSandbox(
                sandbox=job.sandbox,
                name=f"evaluate-{name}-{os.getpid()}-{root.name}",
                root=root,
                hidden=hidden_paths(folder, job.data.files.values()),
                settings=job.sandbox_choice.settings,
            )
        )
    if job.grader is not None:
        grader = open_grader(job.grader, folder, scope=name, prompts=job.data.prompts)
    return Runners(programs=programs, grader=grader)


def _as_an_option(fault: Fault) -> Fault:
    """Return a fault of a plan's grader in the words of who gave options."""
    path = next((path for path in _OPTIONS if fault.path.startswith(path)), None)
    if path is None:
        return fault
    option, expected = _OPTIONS[path]
    found = fault.found.replace("another base_url", "another --grader-url")
    return replace(fault, path=option, found=found, expected=expected)


_OPTIONS = {
    "$.grader.base_url": (
        "--grader-url",
        "an address up to and including the API's version, such as https://api.openai.com/v1, "
        "without user or password",
    ),
    "$.grader.api_key_env": (
        "--grader-key-env",
        "the name of the environment variable that holds the key of this endpoint, never the key "
        "itself, or none where it needs none",
    ),
    "$.grader.prompts": ("--grader-prompt", "a text file in UTF-8 of at most 1 MiB"),
    "$.budgets.grader_usd": (
        "--grader-usd",
        "no such option: a budget for a grader whose price is not known needs a plan with "
        "prices.grader",
    ),
}
"""By JSON path in a plan: the option that stands for it, and what is right there."""


def _as_a_plan_says(options: GraderOptions, task: str) -> Mapping[str, JsonValue]:
    grader: dict[str, JsonValue] = {
        "model": options.model,
        "base_url": options.base_url,
        "prompts": {task: str(options.prompt.absolute())} if options.prompt else None,
    }
    given = {key: value for key, value in grader.items() if value is not None}
    if options.api_key_env is not None:
        given["api_key_env"] = None if options.api_key_env == "none" else options.api_key_env
    budgets = {} if options.budget_usd is None else {"grader_usd": options.budget_usd}
    return {"grader": given, "budgets": budgets}
