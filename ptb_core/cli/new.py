"""``ptb new KIND NAME``: begin a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from ptb_core.specs import KINDS, Kind


@click.command()
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder to make the distribution's folder in. Default: the current one.",
)
@click.option(
    "--manifest-only",
    is_flag=True,
    help="Without Python code; for a task that lm-eval runs or a model.",
)
def command(kind: str, name: str, parent: Path, manifest_only: bool) -> None:
    """Write a complete distribution that brings a KIND called NAME, to begin a plugin with.

    KIND is task, model, scaffold, sandbox, engine, judge or executor. What is written works as it
    stands: it installs, passes `ptb check`, and its plan.json runs it.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.new_distribution import NewDistribution, create, next_commands

    new = NewDistribution(
        kind=cast("Kind", kind), name=name, parent=parent, manifest_only=manifest_only
    )
    folder = create(new, load_catalogue())
    click.echo(f"wrote {folder}; next:")
    for line in next_commands(new):
        click.echo(f"  {line}")
