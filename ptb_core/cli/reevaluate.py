"""``ptb reevaluate RUN [CELL…]``: sealed checkpoints answer, and are scored, again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.argument("cells", metavar="[CELL]...", nargs=-1)
@click.option(
    "--score-only", is_flag=True, help="Score the completions that are there; needs no GPU."
)
def command(run: Path, cells: tuple[str, ...], score_only: bool) -> None:
    """Evaluate sealed checkpoints of RUN again; base cells too when no CELL is named.

    The protocol is the plan's, as before. Earlier completions, scores and records are kept, and
    the new record lists what the cell counted with before.
    """
    from ptb_core.cli.redo import do_again

    do_again(run, cells, "rescore" if score_only else "reevaluate")
