"""``ptb prefetch PLAN``: bring models, data and prompt wordings onto this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptb_core.sizes import in_words

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.evaluation.exchange import DataDir
    from ptb_core.fetch import PrefetchItem, Progress
    from ptb_core.specs import ModelSpec, TaskSpec


@click.command()
@click.argument("plan", required=False)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="A task; may be repeated.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model; repeatable.")
@click.option(
    "--mirror",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with local copies, looked into first; also PTB_MIRROR, which `ptb run` reads.",
)
@click.option("--offline-check", is_flag=True, help="Use no network; say what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    plan: str | None,
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    mirror: Path | None,
    offline_check: bool,
    as_json: bool,
) -> None:
    """Fetch the models and data of PLAN (a file, or the name of a shipped plan).

    What is there already is checked and not fetched again. Exit status 1 when something cannot be
    had. Gated sets need HF_TOKEN; HF_ENDPOINT names another hub.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.cli.output import print_json
    from ptb_core.fetch import prefetch

    catalogue = load_catalogue()
    task_specs, model_specs = _wanted(catalogue, plan, tasks, models)
    items: list[PrefetchItem] = []
    offline = True if offline_check else None
    for item in prefetch(
        task_specs, model_specs, mirror, offline, _progress(), _samples_check(catalogue)
    ):
        items.append(item)
        if not as_json:
            click.echo(_line(item))
    if as_json:
        print_json({"items": items})
    else:
        click.echo(_summary(items))
    if any(item.state == "failed" for item in items):
        sys.exit(1)


def _wanted(
    catalogue: Catalogue, plan: str | None, tasks: Sequence[str], models: Sequence[str]
) -> tuple[list[TaskSpec], list[ModelSpec]]:
    from ptb_core.errors import UsageError
    from ptb_core.plan import load_plan

    if plan is not None:
        loaded = load_plan(plan, catalogue)
        tasks, models = (*loaded.tasks, *tasks), (*loaded.models, *models)
    if not tasks and not models:
        raise UsageError("name a plan, or tasks and models: ptb prefetch PLAN, or --task, --model")
    return (
        [catalogue.task_spec(name) for name in dict.fromkeys(tasks)],
        [catalogue.model(name) for name in dict.fromkeys(models)],
    )


def _samples_check(catalogue: Catalogue) -> Callable[[TaskSpec, DataDir], None]:
    """Return what makes sure that data hold the samples that the manifest promises.

    The data of a task that cannot be used here are fetched all the same.
    """
    from ptb_core.errors import PluginError
    from ptb_core.evaluation.samples import samples_of

    def check(spec: TaskSpec, data: DataDir) -> None:
        try:
            task = catalogue.task(spec.name)
        except PluginError:
            return
        samples_of(task, data)

    return check


def _line(item: PrefetchItem) -> str:
    if item.state == "failed":
        return f"{item.kind:<6} {item.name:<20} failed\n  {item.reason}"
    revisions = ", ".join(f"{name} {_short(text)}" for name, text in item.revisions.items())
    size = in_words(item.size_bytes)
    return f"{item.kind:<6} {item.name:<20} {item.state:<8} {size:>9}  {revisions}"


def _short(revision: str) -> str:
    return revision[:19] if revision.startswith("sha256:") else revision[:30]


def _summary(items: Sequence[PrefetchItem]) -> str:
    from ptb_core.cache import cache_root

    failed = sum(item.state == "failed" for item in items)
    fetched = sum(item.state == "fetched" for item in items)
    size = in_words(sum(item.size_bytes for item in items))
    if failed:
        return f"{failed} of {len(items)} could not be had; the reasons stand above"
    if fetched:
        return f"fetched {fetched} of {len(items)}; all is there, {size} (cache: {cache_root()})"
    return f"all {len(items)} were there already, {size} (cache: {cache_root()})"


def _progress() -> Progress:
    """Return a line that is written over on a terminal, and nothing elsewhere."""
    from ptb_core.fetch.context import silent

    if not sys.stderr.isatty():
        return silent

    def show(what: str, done: int, total: int | None) -> None:
        of = f" of {in_words(total)}" if total else ""
        click.echo(f"\r\033[K{what}: {in_words(done)}{of}", nl=False, err=True)
        if total is not None and done >= total:
            click.echo("\r\033[K", nl=False, err=True)

    return show
