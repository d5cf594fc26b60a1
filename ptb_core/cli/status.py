"""``ptb status RUN``: how every cell of a run stands."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per cell.")
def command(run: Path, as_json: bool) -> None:
    """Show how every cell of RUN (a run folder) stands: stage, time left, score or problem."""
    from ptb_core.run_folder import RunFolder
    from ptb_core.status import cell_status, describe_status

    folder = RunFolder(run)
    head = folder.open()
    statuses = (cell_status(folder, cell) for cell in head.cells)  # one record at a time
    if as_json:
        rows = [
            {
                "cell": status.cell.id,
                "stage": status.stage,
                "attempt": status.attempt,
                "alive": status.is_alive,
                "deadline_unix_s": status.deadline_unix_s,
                "counts": status.record.counts if status.record else None,
                "problem": status.problem,
                "waits": status.waits,
            }
            for status in statuses
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(cell.id) for cell in head.cells), default=0)
    lines = []
    done = 0
    for status in statuses:
        lines.append(f"{status.cell.id:<{width}}  {describe_status(status)}")
        done += status.is_recorded
    click.echo("\n".join([*lines, f"{done} of {len(head.cells)} cells done"]))
