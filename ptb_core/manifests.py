"""Manifests: a component's facts as a JSON file, turned into its spec.

Reading is strict about types (msgspec) and cheap. The full schema check, with every fault of a
file at once, is :func:`ptb_core.schemas.check`; core runs it on each manifest before use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from ptb_core.data import data_dir, root_of
from ptb_core.errors import Fault, InputFileError, UsageError
from ptb_core.specs import (
    EngineSpec,
    ExecutorSpec,
    FileSource,
    JudgeSpec,
    Kind,
    ModelSpec,
    SandboxSpec,
    ScaffoldSpec,
    TaskSpec,
)

SpecT = TypeVar("SpecT")

SPEC_TYPES: Mapping[Kind, type] = {
    "task": TaskSpec,
    "model": ModelSpec,
    "scaffold": ScaffoldSpec,
    "sandbox": SandboxSpec,
    "engine": EngineSpec,
    "judge": JudgeSpec,
    "executor": ExecutorSpec,
}
"""The spec of each kind; its schema is ``schemas/<kind>.schema.json``."""

FOLDERS: Mapping[Kind, str] = {
    "task": "tasks",
    "model": "models",
    "scaffold": "scaffolds",
    "sandbox": "sandboxes",
    "engine": "engines",
    "judge": "judges",
    "executor": "executors",
}
"""Folder of each kind's manifests; also the plural that hooks and the command line use."""

_origins: dict[int, tuple[object, Path]] = {}
"""Manifest of each spec that was read, by the spec's identity; holding the spec keeps it valid."""


def load_manifest(path: Path, spec_type: type[SpecT]) -> SpecT:
    """Read one manifest file into its spec.

    ``packaged`` files of a manifest that does not ship with this project lie below the folder of
    the manifest; their paths are made absolute here.

    Args:
        path: The JSON file; its stem is the component's name.
        spec_type: Such as :class:`~ptb_core.specs.TaskSpec`.

    Raises:
        UsageError: If there is no such file.
        InputFileError: If the file is no JSON, or a value has another type than the spec's; it
            then lists every fault of the file.
    """
    try:
        spec = msgspec.json.decode(path.read_bytes(), type=spec_type)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _all_faults(path, spec_type, error) from error
    spec = cast("SpecT", _with_own_files(spec, root_of(path)))
    _origins[id(spec)] = (spec, path)
    return spec


def load_manifests(
    kind_folder: str, spec_type: type[SpecT], root: Path | None = None
) -> list[SpecT]:
    """Read all manifests of a folder such as ``tasks``, sorted by name.

    Args:
        kind_folder: Folder below ``root``.
        spec_type: Spec of that kind.
        root: Where the folder lies; the shipped ``registry/`` by default.

    Raises:
        InputFileError: If one of them is no manifest of that kind.
    """
    folder = (root or data_dir() / "registry") / kind_folder
    return [load_manifest(path, spec_type) for path in sorted(folder.glob("*.json"))]


def manifest_of(spec: object) -> Path | None:
    """Return the file a spec was read from by this process, or None for one built in code."""
    known = _origins.get(id(spec))
    return known[1] if known is not None and known[0] is spec else None


def _with_own_files(spec: object, root: Path) -> object:
    if root == data_dir():
        return spec
    if isinstance(spec, ModelSpec):
        return replace(spec, source=_below(root, spec.source))
    if isinstance(spec, TaskSpec):
        data = tuple(replace(file, source=_below(root, file.source)) for file in spec.data)
        return replace(spec, data=data)
    return spec


def _below(root: Path, source: FileSource) -> FileSource:
    if source.packaged is None:
        return source
    return replace(source, packaged=str(root / source.packaged))


def _all_faults(path: Path, spec_type: type, error: Exception) -> InputFileError:
    from ptb_core.schemas import faults, load_json

    kind = next((kind for kind, known in SPEC_TYPES.items() if known is spec_type), None)
    found = faults(load_json(path), kind) if kind is not None else ()
    expected = f"a {spec_type.__name__} manifest"
    return InputFileError(
        str(path), found or (Fault(path="$", found=str(error), expected=expected),)
    )
