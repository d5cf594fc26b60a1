"""Live progress of a run: a table on a terminal, one line per change when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ptb_core.driver import Watcher
from ptb_core.status import CellStatus, describe_status

LINES_AROUND = 3
"""Lines of a terminal that the heading, the caption and the cursor take."""


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
        self._seen: dict[str, CellStatus] = {}
        self._started = time.monotonic()

    def __call__(self, statuses: tuple[CellStatus, ...]) -> None:
        for status in statuses:
            if self._seen.get(status.cell.id) is not status:
                self._seen[status.cell.id] = status
                self._tell(status)

    def _tell(self, status: CellStatus) -> None:
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
        shown = worth_showing(statuses, max(1, console.height - LINES_AROUND))
        for status in shown:
            made.add_row(status.cell.id, describe_status(status), style=_style(status))
        done = sum(status.is_recorded for status in statuses)
        left_out = len(statuses) - len(shown)
        more = f"; {left_out} not shown" if left_out else ""
        made.caption = f"{done} of {len(statuses)} cells done{more}"
        return made

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4) as live:
        yield lambda statuses: live.update(table(statuses))


def worth_showing(statuses: tuple[CellStatus, ...], room: int) -> tuple[CellStatus, ...]:
    """Return as many cells as there is room for, in the plan's order.

    Where not all fit, those at work come first, then what went wrong, then what waits, then what
    is done.
    """
    if len(statuses) <= room:
        return statuses
    order = sorted(range(len(statuses)), key=lambda number: _rank(statuses[number]))
    return tuple(statuses[number] for number in sorted(order[:room]))


def _rank(status: CellStatus) -> int:
    if status.is_alive:
        return 0
    if status.is_recorded:
        return 3 if status.is_complete else 1
    return 2 if status.stage == "waiting" else 1


def _style(status: CellStatus) -> str:
    if status.stage == "failed" or (status.is_recorded and not status.is_complete):
        return "red"
    if status.is_recorded:
        return "green" if status.record and status.record.counts == "own" else "yellow"
    return "" if status.is_alive else "dim"
