"""``ptb run --plan PLAN``: run everything that is not done, then show the leaderboard."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click


@click.command()
@click.option("--plan", required=True, help="Plan file, or the name of a shipped plan.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder; an existing one is continued. Default: a new one below ./ptb-runs.",
)
@click.option("--dry-run", is_flag=True, help="Show what would run, and stop.")
@click.option("--ignore-disk", is_flag=True, help="Run though the disk is too small for all of it.")
def command(plan: str, run_dir: Path | None, dry_run: bool, ignore_disk: bool) -> None:
    """Run every cell of a plan that is not done yet; then print the leaderboard.

    Exit status: 0 when every cell counts with a score, 1 when one does not, 2 for a plan that is
    wrong or cannot run here, 130 when interrupted (cells then go on in the background).
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.disk.outlook import (
        describe_outlook,
        outlook,
        refuse_too_small,
        settled_cells,
    )
    from ptb_core.driver import drive, refuse_obstacles
    from ptb_core.grading.terms import set_terms
    from ptb_core.lock import plan_components, software
    from ptb_core.missing_plugins import refuse_missing
    from ptb_core.plan import load_plan
    from ptb_core.plan.estimate import describe_plan
    from ptb_core.progress import watcher
    from ptb_core.retention.apply import retain_run, set_retention
    from ptb_core.run_folder import RunFolder

    catalogue = load_catalogue()
    if run_dir is not None:
        refuse_missing(RunFolder(run_dir), catalogue)
    loaded = load_plan(plan, catalogue)
    if dry_run:
        for line in describe_plan(loaded, catalogue):
            click.echo(line)
        for cell in loaded.cells:
            click.echo(f"  {cell.id}")
        return
    refuse_obstacles(loaded)
    folder = RunFolder(run_dir or _new_run_dir(loaded.name))
    room = outlook(loaded, catalogue, folder.path, settled_cells(folder, loaded))
    if room is not None and not ignore_disk:
        refuse_too_small(room)
    versions = software() | {"components": plan_components(catalogue, loaded)}
    run = folder.create(loaded, versions)
    set_retention(folder, run, loaded.retention)
    set_terms(folder, run, loaded)
    for line in (f"run folder: {folder.path}", *describe_outlook(room)):
        click.echo(line, err=True)
    try:
        with watcher() as watch:
            complete = drive(folder, run, catalogue, watch)
    except KeyboardInterrupt:
        again = f"ptb run --plan {plan} --run-dir {folder.path}"
        click.echo(
            "\ninterrupted: running cells go on in the background and no new one is started.\n"
            f"  follow and finish them: {again}\n  stop them: ptb cancel {folder.path}",
            err=True,
        )
        sys.exit(130)
    for problem in retain_run(folder, run, catalogue):
        click.echo(f"retention: {problem}", err=True)
    _show_leaderboard(folder.path)
    if not complete:
        click.echo(f"some cells have no score: ptb status {folder.path}", err=True)
        sys.exit(1)


def _new_run_dir(name: str) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("ptb-runs") / f"{name}-{stamp}-{os.urandom(2).hex()}"


def _show_leaderboard(path: Path) -> None:
    from ptb_core.leaderboard import print_leaderboard

    print_leaderboard([path])
