"""``ptb retry RUN [CELL…]``: try cells again that have no score."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.argument("cells", metavar="[CELL]...", nargs=-1)
def command(run: Path, cells: tuple[str, ...]) -> None:
    """Try cells of RUN again that failed or are missing; all of them when no CELL is named.

    A failed cell goes on at the stage that failed. A missing one repeats what left it without a
    score: an inconclusive verdict, an incomplete evaluation. A cell that counts is refused, and
    an agent's finished work is never repeated: results are never the best of several.
    """
    from ptb_core.cli.redo import do_again

    do_again(run, cells, "retry")
