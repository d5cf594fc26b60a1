"""Distributions made on the spot: install a plugin, broken or not, for the length of a test.

What a user reads about a broken plugin is best tested with a distribution that lies on the path
exactly as pip leaves it, without running pip::

    from ptb_core.catalogue import load_catalogue
    from ptb_core.testing.installed import temporary_site

    with temporary_site() as site:
        site.install("ptb-mine", {"ptb_mine.py": "import nothing_like_it"}, {"mine": "ptb_mine"})
        (row,) = load_catalogue().rows("plugin")
        assert row.reason.startswith("ptb_mine cannot be imported: ModuleNotFoundError")

Under pytest, make it a fixture that yields the site. A child process finds the same distributions
with ``env=site.environment()``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ptb_core.catalogue import load_catalogue
from ptb_core.hookspecs import GROUP


class Site:
    """A site-packages folder that comes first on the path.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        name: str,
        files: Mapping[str, str],
        entry_points: str | Mapping[str, str],
        version: str = "1.0",
    ) -> None:
        """Lay a distribution's files and metadata into the folder.

        Args:
            name: Name of the distribution, such as ``ptb-mine``.
            files: Text of each file by its path below the folder, such as ``ptb_mine/__init__.py``.
            entry_points: Value of each entry point of the group ``ptb.v1`` by its name; or the
                whole text of ``entry_points.txt``, for groups and damage of other kinds.
            version: Version of the distribution.
        """
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        metadata = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/entry_points.txt": _entry_points_text(entry_points),
        }
        for path, text in {**files, **metadata}.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8", "surrogateescape")
        self.refresh()

    def refresh(self) -> None:
        """Forget what was loaded: the next ``load_catalogue()`` reads the folder anew."""
        importlib.invalidate_caches()
        load_catalogue.cache_clear()

    def environment(self) -> dict[str, str]:
        """Return an environment in which a child process finds the installed distributions."""
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path}


@contextlib.contextmanager
def temporary_site(folder: Path | None = None) -> Iterator[Site]:
    """Put a site folder on the path; at the end nothing of it stays imported.

    Args:
        folder: An empty folder, which stays; a temporary one by default, which goes.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptb-site-")))
        site = Site(folder)
        known = set(sys.modules)
        sys.path.insert(0, str(folder))
        site.refresh()
        try:
            yield site
        finally:
            sys.path.remove(str(folder))
            for name in set(sys.modules) - known:
                if _lies_below(sys.modules[name], folder):
                    del sys.modules[name]
            site.refresh()


def _entry_points_text(entry_points: str | Mapping[str, str]) -> str:
    if isinstance(entry_points, str):
        return entry_points
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    return "\n".join([f"[{GROUP}]", *lines, ""])


def _lies_below(module: object, folder: Path) -> bool:
    places = (getattr(module, "__file__", None), *getattr(module, "__path__", ()))
    return any(Path(place).is_relative_to(folder) for place in places if place)
