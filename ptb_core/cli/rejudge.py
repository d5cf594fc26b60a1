"""``ptb rejudge RUN [CELL…]``: the plan's judges look at the sealed evidence again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.argument("cells", metavar="[CELL]...", nargs=-1)
def command(run: Path, cells: tuple[str, ...]) -> None:
    """Let the judges of RUN look again; at every agent's cell when no CELL is named.

    For a judge that was mended or updated: the judges installed now see what was sealed then.
    Needs no GPU. Earlier verdicts and records are kept, and the new record lists them.
    """
    from ptb_core.cli.redo import do_again

    do_again(run, cells, "rejudge")
