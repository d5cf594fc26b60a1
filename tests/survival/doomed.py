"""``python -m tests.survival.doomed STEP TRAIL WATCHED... -- PTB ARGUMENTS``: die at one step.

Runs the command line and kills its own process with SIGKILL just before its STEP-th *durable
step*: any change of a file or folder below a watched path, the start of a process, a connection.
Python's audit hooks announce these before they happen, whichever module does them. STEP ``N:TEXT``
is the N-th of the steps whose description holds TEXT; 0 dooms nobody. What the step was is
written to TRAIL.

With ``PTB_SURVIVAL_DOOMED_GUARDIAN`` the sessions' guardians are started through
``doomed_guardian.py``, which does the same to one of them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = frozenset(
    {
        "os.rename",
        "os.link",
        "os.symlink",
        "os.mkdir",
        "os.remove",
        "os.rmdir",
        "os.truncate",
        "os.chmod",
        "os.utime",
        "socket.bind",
        "socket.connect",
    }
)
STARTS = frozenset({"subprocess.Popen", "os.posix_spawn"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def die_before(step: str, watched: tuple[str, ...], trail: Path) -> Callable[..., None]:
    """Return an audit hook that kills this process before the durable step ``step``."""
    number, _, text = step.partition(":")
    wanted, count = int(number), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        place = _step(event, arguments, watched)
        if place is None or count < 0 or text not in f"{event} {place}":
            return
        count += 1
        if count == wanted:
            count = -1
            trail.write_text(f"{event} {place}", "utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _step(event: str, arguments: tuple[Any, ...], watched: tuple[str, ...]) -> str | None:
    """Return what a durable step concerns, or None for anything else."""
    if event in STARTS:
        return str(arguments[0])
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & WRITING:
            return None
        return _watched(path, watched)
    if event not in CHANGES:
        return None
    if event.startswith("socket."):
        return _watched(arguments[1], watched)
    by_descriptor = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
    return str(arguments[0]) if by_descriptor else _watched(arguments[0], watched)


def _watched(path: object, watched: tuple[str, ...]) -> str | None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return None
    text = os.fsdecode(path)
    return text if text.startswith(watched) else None


def _doom_guardians(script: Path) -> None:
    from ptb_plugins.sandboxes.local import opening

    start = opening._start_guardian

    def started(name: str, control: Path) -> None:
        kept, opening._GUARDIAN = opening._GUARDIAN, script
        try:
            start(name, control)
        finally:
            opening._GUARDIAN = kept

    opening._start_guardian = started  # type: ignore[assignment]


def main() -> int:
    from ptb_core.cli.main import main as command_line

    separator = sys.argv.index("--")
    step, trail, *watched = sys.argv[1:separator]
    if "PTB_SURVIVAL_DOOMED_GUARDIAN" in os.environ:
        _doom_guardians(Path(__file__).with_name("doomed_guardian.py"))
    sys.addaudithook(die_before(step, tuple(watched), Path(trail)))
    return command_line(sys.argv[separator + 1 :])


if __name__ == "__main__":
    sys.exit(main())
