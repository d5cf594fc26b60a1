"""How the agent program is started, and how its output is read.

Core runs what ``start()`` returns inside a sandbox and later hands the program's whole standard
output to ``read_trace()``; a scaffold does neither itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ptb_core.api import CellContext, Command, Scaffold, Trace, UsageError

from ptb_scaffold_echo.trace import read_trace

PROGRAM = Path(__file__).with_name("agent.py")


class Echo(Scaffold):
    """Runs the program ``agent.py``, which needs nothing but Python's standard library."""

    def start(self, cell: CellContext) -> Command:
        """Return the program's command line; the prompt is its standard input.

        Everything else goes by argument, so that the command of a cell can be read in its record.

        Raises:
            UsageError: If fewer than 0 lines are to be repeated.
        """
        lines = int(cell.settings["lines"])
        if lines < 0:
            raise UsageError(f"scaffold echo: the setting lines is {lines}; expected 0 or more")
        return Command(
            argv=(
                "python3",
                PROGRAM.name,
                f"--base-model={cell.base_model}",
                f"--deadline={cell.deadline_unix_s:.0f}",
                f"--submit={cell.settings['submit']}",
                f"--lines={lines}",
            ),
            stdin=cell.prompt.encode(),
            files={PROGRAM.name: PROGRAM.read_bytes()},
        )

    def read_trace(self, stream: Iterable[bytes]) -> Trace:
        """Read the program's output; see :mod:`ptb_scaffold_echo.trace` for its format."""
        return read_trace(stream)
