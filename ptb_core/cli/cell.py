"""``ptb cell RUN CELL`` (hidden): the supervisor of one cell."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.argument("cell")
def command(run: Path, cell: str) -> None:
    """Take one CELL of a RUN to its end; executors start this."""
    # Many supervisors share a machine, and the BLAS threads of each would spin while they wait:
    # on two busy cores a judge's dot products took 20 to 260 ms instead of 6.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ptb_core.run_folder import RunFolder
    from ptb_core.supervisor import supervise

    supervise(RunFolder(run), cell)
