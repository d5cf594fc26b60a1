"""``ptb evaluate MODEL --task TASK``: the score of one checkpoint on one task, without a plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptb_core.cli.evaluation_options import (
    EvaluationOptions,
    evaluation_options,
)
from ptb_core.errors import printable

if TYPE_CHECKING:
    from ptb_core.evaluation.evaluation_folder import Summary


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--task", required=True, metavar="NAME", help="The task.")
@click.option(
    "--model",
    "base",
    metavar="NAME",
    help="Where MODEL is a folder: the base model it was made from.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for samples and summary. Default: one below ./ptb-evaluations, the same for the "
    "same command.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@evaluation_options
def command(
    model: str,
    task: str,
    base: str | None,
    output: Path | None,
    as_json: bool,
    options: EvaluationOptions,
) -> None:
    """Evaluate MODEL, a registered model or the folder of a checkpoint, on a task.

    Asks, serves and scores as the final evaluation of a cell does, and shows both scorings. The
    same command continues an evaluation that was interrupted or is incomplete.

    Exit status: 0 with a score, 1 without one, 2 for wrong usage, 130 when interrupted.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.cli.interrupts import ending_on_sigterm
    from ptb_core.cli.output import print_json
    from ptb_core.cli.progress_line import ProgressLine
    from ptb_core.errors import EngineError
    from ptb_core.evaluation.evaluate import evaluate
    from ptb_core.evaluation.evaluation_folder import EvaluationFolder
    from ptb_core.evaluation.job import default_folder, find_weights, make_job
    from ptb_core.evaluation.runners import runners_for

    catalogue = load_catalogue()
    weights = find_weights(catalogue, model, base, options.mirror)
    job = make_job(catalogue, weights, task, options.job_options(catalogue))
    folder = EvaluationFolder(output or default_folder(job))
    for line in (f"evaluation folder: {folder.path}", *(f"note: {note}" for note in job.notes)):
        click.echo(line, err=True)
    with ending_on_sigterm(), ProgressLine() as progress:
        try:
            summary = evaluate(job, folder, runners_for(job, folder.path), progress)
        except KeyboardInterrupt:
            click.echo(f"\ninterrupted: {_kept(progress.last)}", err=True)
            sys.exit(130)
        except EngineError as error:
            kept = _kept(progress.last)
            words = str(error).removesuffix(".")
            raise EngineError(f"{words}. {kept[0].upper()}{kept[1:]}") from error
    if not summary.evaluation.complete:
        click.echo(f"ptb: {_incomplete(summary)}", err=True)
        sys.exit(1)
    if as_json:
        print_json(summary)
    else:
        for line in result_lines(summary, folder.path):
            click.echo(line)


def result_lines(summary: Summary, folder: Path) -> list[str]:
    """Return a complete evaluation in words: the score that counts first, then what it rests on."""
    from ptb_core.leaderboard.wording import protocol_words
    from ptb_core.specs import SCORINGS

    evaluation = summary.evaluation
    counted = evaluation.scores[evaluation.counted]
    numbers = evaluation.details.get("generation", {})
    facts = [
        f"truncated {numbers.get('truncated', 0)} of {numbers.get('requests', 0)} answers",
        f"errors {numbers.get('errors', 0)}",
    ]
    facts += [f"{mark} {n}" for mark, n in counted.marks.items() if mark != "truncated"]
    lines = [
        f"{summary.task}, {_subject(summary)}: {percent_words(counted.value, counted.stderr)}"
        f" ({evaluation.counted} scoring, {counted.n} samples)"
    ]
    for scoring in SCORINGS:
        score = evaluation.scores[scoring]
        if scoring != evaluation.counted:
            lines.append(f"  {scoring} scoring: {percent_words(score.value, score.stderr)}")
    lines += _seed_lines(summary)
    lines += [f"  {name}: {value:.4g}" for name, value in counted.breakdowns.items()]
    lines += [
        f"  protocol {protocol_words(summary.protocol)}",
        f"  engine {summary.engine.name}; at most {evaluation.details['max_tokens']} tokens per "
        f"answer; isolation {summary.facts.isolation}",
        *_grader_lines(summary),
        f"  {', '.join(facts)}",
        f"samples: ptb samples {folder} --wrong",
        f"summary: {folder / 'summary.json'}",
    ]
    return lines


def _subject(summary: Summary) -> str:
    checkpoint = summary.checkpoint
    if checkpoint["revision"] == checkpoint["base_model_revision"]:
        return summary.model
    return f"{checkpoint['path']} (from {summary.model})"


def percent_words(value: float, stderr: float | None) -> str:
    """Return a score in percent with its standard error, if it has one."""
    spread = "" if stderr is None else f" ± {100 * stderr:.2f}"
    return f"{100 * value:.2f}{spread} %"


def _grader_lines(summary: Summary) -> Sequence[str]:
    """Return who graded, by whose wording and at what cost, attempts before this one included."""
    facts = summary.evaluation.details.get("grader")
    if not facts:
        return ()
    words = [f"grader {facts['model']} at {facts['endpoint']}"]
    own = (summary.lock.get("grader") or {}).get("prompts", {}).get(summary.task)
    if own is not None:
        words.append(f"own wording sha256 {own[:12]}")
    cost_usd = (facts.get("scope") or {}).get("usd")
    if cost_usd is not None:
        words.append(f"${cost_usd:,.4f}")
    return (f"  {printable(', '.join(words))}",)


def _seed_lines(summary: Summary) -> Sequence[str]:
    evaluation = summary.evaluation
    seeds = evaluation.details.get("seeds")
    if not seeds:
        return ()
    values = ", ".join(
        f"{one['seed']}: {100 * one['values'][evaluation.counted]:.2f}" for one in seeds["per_seed"]
    )
    return (f"  by seed {values}; spread {100 * seeds['spread'][evaluation.counted]:.2f}",)


def _kept(last: tuple[str, int, int]) -> str:
    what, done, total = last
    kept = f"{done} of {total} {what} are kept; " if what else ""
    return f"{kept}the same command continues from there"


def _incomplete(summary: Summary) -> str:
    evaluation = summary.evaluation
    by_scoring = evaluation.details.get("failures", {})
    failures = [pair for found in by_scoring.values() for pair in found.items()]
    sample, reason = failures[0] if failures else ("", "nothing had to be scored")
    named = f", sample {sample!r}" if sample else ""
    return (
        f"the evaluation is incomplete, so there is no score: "
        f"{evaluation.n_expected - evaluation.n_scored} of {evaluation.n_expected} samples lack "
        f"one; the first{named}: {reason}. The same command tries again what is missing"
    )
