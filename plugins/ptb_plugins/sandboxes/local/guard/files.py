"""Control files: small JSON objects that are always whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
"""Errors of a disk that may pass: room is made, the file server comes back."""


def is_disk_fault(error: OSError) -> bool:
    """Tell whether an error is the disk's, so that writing may succeed later."""
    return error.errno in DISK_FAULTS


def write_json(path: Path, content: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace a JSON file in one step.

    Args:
        path: The file.
        content: What it shall hold.
        durable: True waits until file and name are on the disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(json.dumps(content).encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        _sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a control file holds, or None when there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return content


def sweep(control: Path) -> None:
    """Remove what writers that were killed left in a dead session's control folder."""
    for pattern in (".*.tmp", "processes/*/.*.tmp"):
        for path in control.glob(pattern):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
