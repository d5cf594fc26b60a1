"""The evidence bundle: what judges may look at, copied out of the agent's reach.

Nothing in it is executed, unpickled or imported. Links and special files are not copied but
listed; weights are left to the sealed submission.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ptb_core.disk.faults import disk_fault

WEIGHTS = (".safetensors",)


def collect_workspace(workspace: Path, target: Path, submission: str) -> dict[str, str]:
    """Copy a workspace for judges.

    Args:
        workspace: The workspace; nothing in it runs any more.
        target: Folder to make.
        submission: Name of the submission's folder, whose weights are not copied.

    Returns:
        What was left out: relative path to reason.

    Raises:
        OSError: If the disk is full or failing.
    """
    omitted: dict[str, str] = {}
    target.mkdir(parents=True)
    for path in _walk(workspace, workspace, omitted):
        relative = path.relative_to(workspace)
        if relative.parts[0] == submission and path.suffix in WEIGHTS:
            omitted[relative.as_posix()] = "weights: sealed with the submission"
            continue
        _copy(path, target / relative, relative.as_posix(), omitted)
    return omitted


def _walk(folder: Path, workspace: Path, omitted: dict[str, str]) -> Iterator[Path]:
    """Yield regular files below a folder without following a link; note everything else."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        omitted[folder.relative_to(workspace).as_posix()] = f"unreadable folder: {error.strerror}"
        return
    for entry in entries:
        path = Path(entry.path)
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from _walk(path, workspace, omitted)
        elif stat.S_ISREG(mode):
            yield path
        else:
            omitted[path.relative_to(workspace).as_posix()] = _kind(path, mode)


def _kind(path: Path, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return f"link to {path.readlink()}"
    return "special file"


def _copy(source: Path, target: Path, relative: str, omitted: dict[str, str]) -> None:
    """Link where the file system can: nothing that could write lives, and a link takes no room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
        return
    except OSError as error:
        _require_disk(error)
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            omitted[relative] = f"unreadable: {error.strerror}"
            return
    try:
        shutil.copyfile(source, target, follow_symlinks=False)
    except OSError as error:
        _require_disk(error)
        omitted[relative] = f"unreadable: {error.strerror}"


def _require_disk(error: OSError) -> None:
    """Raise what is the disk's fault and not the file's: a full disk must not thin out evidence."""
    if disk_fault(error) is not None:
        raise error
