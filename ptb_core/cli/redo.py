"""What ``ptb retry``, ``ptb rejudge`` and ``ptb reevaluate`` share: run it, show what changed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ptb_core.records import Record
    from ptb_core.redo import Change, Chosen
    from ptb_core.redo_request import RedoKind


def do_again(run: Path, cells: Sequence[str], kind: RedoKind) -> None:
    """Do cells of a run again, print what changed, and exit with 1 when one has no score.

    Args:
        run: The run folder.
        cells: Ids of cells, or paths of their folders; none means all that it makes sense for.
        kind: What to do.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.progress import watcher
    from ptb_core.redo import choose, redo, require_components
    from ptb_core.run_folder import RunFolder

    folder = RunFolder(run)
    head = folder.open()
    catalogue = load_catalogue()
    chosen = choose(folder, head, kind, [Path(cell).name for cell in cells])
    require_components(head, catalogue, chosen)
    for line in _announcement(chosen):
        click.echo(line, err=True)
    try:
        with watcher() as watch:
            changes = redo(folder, head, catalogue, chosen, watch)
    except KeyboardInterrupt:
        click.echo(
            "\ninterrupted: running cells go on in the background; what is still to be done again "
            f"stays asked for.\n  stop them: ptb cancel {folder.path}",
            err=True,
        )
        sys.exit(130)
    for change in changes:
        click.echo(describe_change(change))
    if not all(change.is_good for change in changes):
        sys.exit(1)


def describe_change(change: Change) -> str:
    """Return one line: what the cell counted with before and now, or why nothing changed."""
    if change.problem and (change.after is None or change.after == change.before):
        return f"{change.cell}: not done again: {change.problem}"
    before, after = describe_result(change.before), describe_result(change.after)
    return f"{change.cell}: {before} -> {after}" + (" (unchanged)" if before == after else "")


def describe_result(record: Record | None) -> str:
    """Return what a cell counts with in a few words, such as ``base (own 87.5), flagged``."""
    if record is None:
        return "no record"
    score = record.own_score
    words: str = record.counts
    if score is not None:
        value = f"{100 * score.value:.1f}"
        words += f" {value}" if record.counts == "own" else f" (own {value})"
    return f"{words}, {record.verdict}" if record.verdict else words


def _announcement(chosen: Chosen) -> list[str]:
    count = "1 cell" if len(chosen.stages) == 1 else f"{len(chosen.stages) or 'no'} cells"
    return [
        f"{count} to do again",
        *(f"left out: {cell}: {reason}" for cell, reason in chosen.left_out.items()),
    ]
