"""Where the files that ship with the project lie: schemas, registry, plans, embedded job."""

from __future__ import annotations

from pathlib import Path


def data_dir() -> Path:
    """Return the folder holding ``schemas/``, ``registry/``, ``plans/`` and ``embedded/``.

    In an installed wheel this is ``ptb_core/_data``; in a checkout (editable install) it is the
    checkout itself.
    """
    package = Path(__file__).resolve().parent
    packaged = package / "_data"
    return packaged if packaged.is_dir() else package.parent


def root_of(manifest: Path) -> Path:
    """Return the folder that the paths in a manifest start from.

    For the shipped manifests it is :func:`data_dir`; for any other it is the folder that the
    manifest lies in, so that a distribution can bring templates, data and weights of its own. A
    checkout may hold a virtual environment with strangers' manifests: only ``registry/`` is ours.
    """
    return data_dir() if manifest.is_relative_to(data_dir() / "registry") else manifest.parent
