"""``ptb baseline``: scores of untouched and instruct models, measured into a baseline file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptb_core.cli.evaluation_options import EvaluationOptions, evaluation_options

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.evaluation.baseline import BaselineFile
    from ptb_core.evaluation.baseline_terms import BaselineKind
    from ptb_core.evaluation.evaluation_folder import Summary
    from ptb_core.evaluation.job import JobOptions


@click.command()
@click.argument("plan", required=False)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="A task; repeatable.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="A base model; repeatable.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["zero-shot", "few-shot", "instruct"]),
    default=("zero-shot",),
    show_default="zero-shot",
    help="What is measured; repeatable.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Baseline file; made, or added to.",
)
@evaluation_options
def command(
    plan: str | None,
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    kinds: tuple[BaselineKind, ...],
    out: Path,
    options: EvaluationOptions,
) -> None:
    """Measure baselines of all tasks and models of PLAN, or of those that are named.

    zero-shot is the untouched base model, few-shot the same with worked examples, instruct its
    official instruct form. With PLAN its protocol and engine hold. A plan takes the measured
    scores in place of its own measurements with `"baselines": "FILE.json"`. The same command
    continues what was interrupted; the evaluations lie below ./ptb-evaluations.

    Exit status: 0 when all were measured, 1 when one was not, 2 for wrong usage, 130 when
    interrupted.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.evaluation.baseline import BaselineFile
    from ptb_core.evaluation.baseline_terms import baseline_terms

    catalogue = load_catalogue()
    _refuse_sampling(kinds, options)
    job_options, tasks, models = _wanted(catalogue, plan, tasks, models, options)
    file = BaselineFile(path=out)
    file.require_usable(kinds, baseline_terms(catalogue, job_options, tasks))
    wanted = [(kind, model, task) for kind in kinds for model in models for task in tasks]
    failed = sum(not _measure(catalogue, file, one, job_options) for one in wanted)
    click.echo(f"{len(wanted) - failed} of {len(wanted)} baselines measured: {out}", err=True)
    if failed:
        sys.exit(1)


def _refuse_sampling(kinds: Sequence[str], options: EvaluationOptions) -> None:
    from ptb_core.errors import UsageError

    given = [name for name in ("--temperature", "--top-p", "--top-k") if name in options.changes]
    if given and "few-shot" in kinds:
        raise UsageError(
            f"few-shot baselines are sampled as registry/baselines/few-shot.json says; leave out "
            f"{', '.join(given)}"
        )


def _wanted(
    catalogue: Catalogue,
    plan: str | None,
    tasks: Sequence[str],
    models: Sequence[str],
    options: EvaluationOptions,
) -> tuple[JobOptions, tuple[str, ...], tuple[str, ...]]:
    from ptb_core.errors import UsageError
    from ptb_core.grading.terms import terms_of
    from ptb_core.plan import load_plan

    if plan is None:
        if not tasks or not models:
            raise UsageError("name a plan, or at least one --task and one --model")
        for task in tasks:
            catalogue.task_spec(task)
        for model in models:
            catalogue.model(model)
        return options.job_options(catalogue), tuple(tasks), tuple(models)
    if tasks or models or options.changes:
        given = {"--task": tasks, "--model": models}
        named = ", ".join([*(name for name, value in given.items() if value), *options.changes])
        raise UsageError(f"the plan says what is measured and how; leave out {named}")
    loaded = load_plan(plan, catalogue)
    job_options = replace(
        options.job_options(catalogue),
        protocol=loaded.protocol,
        engine=loaded.engine.name,
        settings=loaded.engine.settings,
        sandbox=loaded.sandbox.name,
        sandbox_settings=loaded.sandbox.settings,
        terms=terms_of(loaded),
    )
    return job_options, loaded.tasks, loaded.models


def _measure(
    catalogue: Catalogue,
    file: BaselineFile,
    wanted: tuple[BaselineKind, str, str],
    job_options: JobOptions,
) -> bool:
    """Measure one baseline and say so; False, with the reason told, when it could not be."""
    from ptb_core.cli.interrupts import ending_on_sigterm
    from ptb_core.cli.progress_line import ProgressLine
    from ptb_core.errors import PtbError
    from ptb_core.evaluation.baseline import baseline_job
    from ptb_core.evaluation.evaluate import evaluate
    from ptb_core.evaluation.evaluation_folder import EvaluationFolder
    from ptb_core.evaluation.job import default_folder
    from ptb_core.evaluation.runners import runners_for
    from ptb_core.output_files import reason_of

    kind, model, task = wanted
    label = f"{kind:<9}  {model}  {task}"
    try:
        job = baseline_job(catalogue, kind, model, task, job_options)
        folder = EvaluationFolder(default_folder(job))
        with ending_on_sigterm(), ProgressLine() as progress:
            summary = evaluate(job, folder, runners_for(job, folder.path), progress)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted at {label}; the same command continues from there", err=True)
        sys.exit(130)
    except PtbError as error:
        click.echo(f"{label}  not measured: {error}", err=True)
        return False
    if not summary.evaluation.complete:
        reason = next(_reasons(summary), "nothing had to be scored")
        click.echo(f"{label}  not measured: the evaluation is incomplete: {reason}", err=True)
        return False
    try:
        file.add(kind, summary)
    except (PtbError, OSError) as error:
        words = f"{file.path}: {reason_of(error)}" if isinstance(error, OSError) else error
        click.echo(
            f"{label}  measured, but not added: {words}; the same command adds it without "
            "measuring again",
            err=True,
        )
        return False
    click.echo(f"{label}  {_score(summary)}")
    return True


def _reasons(summary: Summary) -> Iterator[str]:
    for found in summary.evaluation.details.get("failures", {}).values():
        yield from found.values()


def _score(summary: Summary) -> str:
    from ptb_core.cli.evaluate import percent_words

    evaluation = summary.evaluation
    score = evaluation.scores[evaluation.counted]
    return (
        f"{percent_words(score.value, score.stderr)} ({evaluation.counted} scoring, {score.n} "
        "samples)"
    )
