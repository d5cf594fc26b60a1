"""What nothing in a sandbox may see of the host."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ptb_core.cache import cache_root
from ptb_core.data import data_dir


def hidden_paths(folder: Path, data_files: Iterable[Path]) -> tuple[Path, ...]:
    """Return the host paths to hide: results, weights, answers.

    A task's data files are named one by one, because a third-party distribution may keep its own
    beside its code.

    Args:
        folder: The folder of the run or of the evaluation.
        data_files: The task's data files.
    """
    return (folder, cache_root(), data_dir() / "embedded", *sorted(data_files))
