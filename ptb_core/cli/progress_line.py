"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

LINE_EVERY_S = 10.0


class ProgressLine:
    """Shows numbers done and expected on standard error; use as a context manager.

    Attributes:
        last: What it was told last: what is under way, number done, number expected.
    """

    def __init__(self) -> None:
        self.last: tuple[str, int, int] = ("", 0, 0)
        self._bar: Any = None
        self._is_terminal = sys.stderr.isatty()
        self._told_at = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell how far it is."""
        if self.last == (what, done, total):
            return
        begins = what != self.last[0]
        self.last = (what, done, total)
        if self._is_terminal:
            self._draw(what, done, total, begins)
        elif begins or done == total or time.monotonic() - self._told_at >= LINE_EVERY_S:
            self._told_at = time.monotonic()
            click.echo(f"{done} of {total} {what}", err=True)

    def _draw(self, what: str, done: int, total: int, begins: bool) -> None:
        if begins:
            self._close()
            self._bar = click.progressbar(
                length=total, label=what, show_pos=True, file=sys.stderr, item_show_func=None
            )
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
