"""Live progress of a run: a table on a terminal, one line per change when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ptb_core.driver import Watcher
from ptb_core.status import CellStatus, describe_status


@contextmanager
def watcher() -> Iterator[Watcher]:
    """Yield what the driver calls with the cells' statuses; writes to standard error."""
    if sys.stderr.isatty():
        with _live_table() as watch:
            yield watch
    else:
        yield _LinePrinter()


class _LinePrinter:
    """Prints a line when a cell's stage or outcome changes."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._started = time.monotonic()

    def __call__(self, statuses: tuple[CellStatus, ...]) -> None:
        for status in statuses:
            key = describe_status(status) if status.is_recorded else status.waits or status.stage
            if self._last.get(status.cell.id, "waiting") != key:
                self._last[status.cell.id] = key
                elapsed = time.monotonic() - self._started
                line = f"[{elapsed:6.1f} s] {status.cell.id}: {describe_status(status)}"
                print(line, file=sys.stderr, flush=True)


@contextmanager
def _live_table() -> Iterator[Watcher]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    def table(statuses: tuple[CellStatus, ...]) -> Table:
        made = Table(box=None, pad_edge=False)
        made.add_column("cell", no_wrap=True)
        made.add_column("stage")
        for status in statuses:
            made.add_row(status.cell.id, describe_status(status), style=_style(status))
        done = sum(status.is_recorded for status in statuses)
        made.caption = f"{done} of {len(statuses)} cells done"
        return made

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        yield lambda statuses: live.update(table(statuses))


def _style(status: CellStatus) -> str:
    if status.stage == "failed" or (status.is_recorded and not status.is_complete):
        return "red"
    if status.is_recorded:
        return "green" if status.record and status.record.counts == "own" else "yellow"
    return "" if status.is_alive else "dim"
