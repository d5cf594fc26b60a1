"""Folders of links that judges' dead supervisors left among the temporary files.

They are the only thing outside a run folder that is ever removed, and nothing in them but links
into that run folder is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ptb_core.retention.collect import is_held
from ptb_core.run_folder import RunFolder
from ptb_core.stages.judge import NEUTRAL_PREFIX


def dead_evidence_folders(run_folder: RunFolder) -> Iterator[Path]:
    """Yield the folders that hold only links into cells of a run that nobody works on."""
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{NEUTRAL_PREFIX}*")):
        with contextlib.suppress(OSError):  # gone meanwhile
            if _is_ours(folder) and _is_dead(folder, run_folder):
                yield folder


def remove_evidence_folder(folder: Path) -> None:
    """Remove the links of such a folder, then the folder; anything else in it stays.

    Raises:
        OSError: If it holds anything else, or cannot be removed.
    """
    for link in sorted(folder.iterdir()):
        if link.is_symlink():
            link.unlink()
    folder.rmdir()


def _is_ours(folder: Path) -> bool:
    return not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.getuid()


def _is_dead(folder: Path, run_folder: RunFolder) -> bool:
    """An empty one cannot be told from one that is being filled, so it is left alone."""
    cells = run_folder.path / "cells"
    targets = [link.readlink() if link.is_symlink() else None for link in folder.iterdir()]
    owners: set[str] = set()
    for target in targets:
        if target is None or ".." in target.parts or not target.is_relative_to(cells):
            return False
        owners.update(target.relative_to(cells).parts[:1])
    return len(owners) == 1 and not is_held(run_folder.cell(owners.pop()))
