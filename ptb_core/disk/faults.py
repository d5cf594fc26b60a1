"""Faults of a disk are no stage's failure: what was begun stays unfinished and can go on later.

A full, read-only or failing file system is told from every other error by its error number, also
where another exception was raised because of it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptb_core.errors import PtbError

DISK_FAULTS = {
    errno.ENOSPC: ("the disk is full", "free space there"),
    errno.EDQUOT: ("the disk quota is used up", "free space there, or have the quota raised"),
    errno.EROFS: ("the file system is read-only", "make it writable"),
    errno.EIO: ("the disk cannot be read or written", "mend or replace it"),
    errno.ESTALE: ("the file server has lost the file", "mount the folder anew"),
}
"""Error number to what has happened and what to do."""


class DiskFaultError(PtbError):
    """The disk is full, read-only or failing; nothing is lost, and the work can go on later."""


def disk_fault(error: BaseException | None) -> OSError | None:
    """Return the disk's fault behind an error, or None if there is none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            return error
        seen.add(id(error))
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
    return None


def describe_fault(fault: OSError, folder: Path) -> str:
    """Return what has happened, where and what to do, without a full stop.

    Args:
        fault: The disk's fault.
        folder: Named when the fault names no file.
    """
    happened, remedy = DISK_FAULTS[fault.errno or 0]
    place = fault.filename if isinstance(fault.filename, str) else str(folder)
    return f"{happened} at {place} ({fault.strerror}); {remedy}"


@contextmanager
def naming_disk_faults(what: str, folder: Path) -> Iterator[None]:
    """Turn a disk's fault inside the block into a sentence.

    Args:
        what: Said before the fault, such as a cell's id.
        folder: Where the work is done, for faults that name no file.

    Raises:
        DiskFaultError: For a disk's fault; other errors pass.
    """
    try:
        yield
    except DiskFaultError:
        raise
    except Exception as error:
        fault = disk_fault(error)
        if fault is None:
            raise
        raise DiskFaultError(
            f"{what}: {describe_fault(fault, folder)}; what is done is kept, and `ptb run` on the "
            "run folder goes on from there"
        ) from error


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Name the file in errors of the operating system: those of a write or a sync name none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
