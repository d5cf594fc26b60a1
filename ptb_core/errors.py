"""Every error a user can meet, under one root.

A message says what failed, which file or plugin, what was found, what was expected and what to
do next, in one or two sentences. The command line prints the message alone; a traceback only on
request.
"""

from __future__ import annotations

from dataclasses import dataclass


class PtbError(Exception):
    """Root of all errors that are shown to a user without a traceback."""

    exit_code = 1


class UsageError(PtbError):
    """A wrong command line, plan, manifest or name: nothing was started."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong in an input file.

    Attributes:
        path: JSON path of the value, such as ``$.agents[0].scaffold``.
        found: What stands there, shortened.
        expected: What would be right, and what to do.
    """

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        """Return one line that a terminal shows as it is, whatever the file holds."""
        return printable(f"{self.path}: found {self.found}; expected {self.expected}")


def printable(text: str) -> str:
    r"""Return a text with line breaks, control and invisible characters spelt out as ``\n``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class InputFileError(UsageError):
    """An input file breaks its schema or its rules; lists every fault at once.

    Attributes:
        file: The file as the user named it.
        faults: All faults, in document order.
    """

    def __init__(self, file: str, faults: tuple[Fault, ...]) -> None:
        self.file = file
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([f"{file}: {count}", *(f"  {fault}" for fault in faults)]))


class PluginError(PtbError):
    """A plugin that the work needs is broken."""

    exit_code = 2


class SandboxError(PtbError):
    """A sandbox could not be opened, reached or driven."""


class SandboxLostError(SandboxError):
    """The sandbox's guardian is gone; whatever ran inside has been stopped."""


class SandboxElsewhereError(SandboxError):
    """The sandbox lives where it cannot be reached from here, such as on another host."""


class EngineError(PtbError):
    """A checkpoint could not be served; the message carries the server's last words."""


class CheckpointError(PtbError):
    """A submission was refused at the seal, or cannot be loaded; the message says why."""


class DataError(PtbError):
    """Data, prompts or weights are absent, drifted or damaged; says how to get them."""


class RecordError(PtbError):
    """A run folder's file is damaged or of an unknown version."""


class ClaimLostError(PtbError):
    """Another supervisor has taken this cell over; this one must stop at once."""
