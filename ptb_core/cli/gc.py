"""``ptb gc RUN...``: remove what the disk need not hold any longer, after showing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ptb_core.retention.gc import RunFindings


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--yes", is_flag=True, help="Remove it; without this it is only shown.")
@click.option(
    "--policy",
    type=click.Choice(["all", "best", "after-verdict", "none"]),
    help="Which checkpoints go, instead of what the plan says.",
)
@click.option(
    "--workspaces",
    type=click.Choice(["whole", "without-copies", "without-weights"]),
    help="What agents left that goes, instead of what the plan says.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    runs: Sequence[Path], yes: bool, policy: str | None, workspaces: str | None, as_json: bool
) -> None:
    """Show what of RUNS the plan's retention lets go, and what crashes left; remove it with --yes.

    On a terminal it asks. Records, evidence, completions and logs stay under every rule; digests
    of what went, when and why stand in each cell's removed.jsonl. A cell that is being worked on is
    left alone. Exit status 1 when something could not be removed.
    """
    from ptb_core.cli.output import print_json
    from ptb_core.retention.gc import RunCollector, as_data, describe, summary

    collectors = [RunCollector(path, policy, workspaces) for path in runs]
    found = [collector.survey() for collector in collectors]
    if not as_json:
        for line in describe(found, is_agreed=yes):
            click.echo(line)
    if not (yes or _agreed(found, as_json)):
        if as_json:
            print_json(as_data(found, removed=False))
        return
    done = [collector.clean(each) for collector, each in zip(collectors, found, strict=True)]
    if as_json:
        print_json(as_data(done, removed=True))
    else:
        for line in summary(done):
            click.echo(line)
    if any(each.problems for each in done):
        sys.exit(1)


def _agreed(found: Sequence[RunFindings], as_json: bool) -> bool:
    if as_json or not any(each.is_something for each in found) or not sys.stdin.isatty():
        return False
    return str(click.prompt("type yes to remove it", default="no")) == "yes"
