"""Going on with a run whose plugins have been uninstalled: which distributions are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from ptb_core.catalogue import Catalogue
from ptb_core.errors import PluginError
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import Kind


def refuse_missing(run_folder: RunFolder, catalogue: Catalogue) -> None:
    """Make sure that everything a run was begun with is still installed.

    Does nothing for a folder that holds no run yet.

    Raises:
        PluginError: If a component is gone; names its distribution and how to get it back.
        RecordError: If the run's head is damaged.
    """
    if not run_folder.head.exists():
        return
    gone = list(_gone(run_folder.open(), catalogue))
    if gone:
        lines = "\n".join(f"  {line}" for line in gone)
        raise PluginError(
            f"{run_folder.path} was begun with plugins that are not installed now; nothing was "
            f"started:\n{lines}\nIts records can be read without them: `ptb status` and "
            "`ptb leaderboard`"
        )


def _gone(run: Run, catalogue: Catalogue) -> Iterator[str]:
    for key, origin in run.software.get("components", {}).items():
        kind, _, name = key.partition("/")
        if name not in catalogue.names(cast("Kind", kind)):
            wanted = f"{origin['distribution']}=={origin['version']}"
            yield (
                f"{kind} {name} of {origin['distribution']} {origin['version']}: "
                f"pip install '{wanted}'"
            )
