"""Removing what something hostile has filled."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def remove_hostile_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, closed folders included; what cannot go stays."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            child = Path(parent, name)
            if not child.is_symlink():
                with contextlib.suppress(OSError):
                    child.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
