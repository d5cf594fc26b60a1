"""Files that a user names for results: looked at before the work whose result goes there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ptb_core.errors import UsageError


def require_writable(path: Path, option: str) -> None:
    """Make a file's folder and see that the file can be written; one that exists stays as it is.

    Args:
        path: The file; need not exist.
        option: The option that names it, such as ``--out``.

    Raises:
        UsageError: If it cannot be written.
    """
    probe = path.absolute().with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "Is a directory")
        with contextlib.suppress(FileExistsError):  # a file there is told by the next line
            probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{option} {path} cannot be written ({reason_of(error)}); name a file in a folder "
            "that you may write to"
        ) from error


def reason_of(error: OSError) -> str:
    """Return the system's words for an error, without the file's name."""
    return error.strerror or str(error)
