"""A folder with local copies, for machines without network and for data one already has.

Layout, all optional, first hit wins. For a file of a hub repository with the id ``org/name``::

    MIRROR/org/name/<path in the repository>         main/test-00000-of-00001.parquet
    MIRROR/org/name/<path without shard>.<form>      main/test.jsonl.gz
    MIRROR/<task>-<file>.<form>                      gsm8k-test.jsonl.gz

A form is one of ``.jsonl .jsonl.gz .json .json.gz .csv .csv.gz .parquet``. For an address: the
last part of it, or that with ``.gz``, or ``<task>-<file>.<form>``. For a model: the folder
``MIRROR/org/name`` or ``MIRROR/<model>`` with config.json and safetensors. For a wheel: the wheel
itself, or the file wanted from it under its own name.

Files are copied into the cache and are there when the mirror is not; models, which are large, are
used where they lie.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ptb_core.cache import remembered_sha256
from ptb_core.errors import DataError
from ptb_core.evaluation.rows import ROW_SUFFIXES
from ptb_core.fetch.context import FetchContext
from ptb_core.specs import FileSource

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def mirrored_file(source: FileSource, label: str, context: FetchContext) -> Path | None:
    """Return a mirror's copy of a file, or None when it has none.

    Args:
        source: What is wanted.
        label: Flat name of the thing, such as ``gsm8k-test``.
        context: Names the mirror.

    Raises:
        DataError: If a digest is pinned and the copy has another one.
    """
    if context.mirror is None:
        return None
    for candidate in _candidates(source, label, context.mirror):
        if candidate.is_file():
            _check(candidate, source, label, context)
            return candidate
    return None


def mirrored_model(source: FileSource, name: str, context: FetchContext) -> Path | None:
    """Return a mirror's folder of a model, or None when it has none."""
    if context.mirror is None:
        return None
    names = [source.hub, name] if source.hub else [name]
    folders = [context.mirror / item for item in names]
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


def _candidates(source: FileSource, label: str, mirror: Path) -> Iterator[Path]:
    if source.hub and source.path:
        folder = mirror / source.hub
        yield folder / source.path
        stem = _stem(source.path)
        yield from (folder / f"{stem}{suffix}" for suffix in ROW_SUFFIXES)
    if source.url:
        name = PurePosixPath(source.url).name
        yield from (mirror / name, mirror / f"{name}.gz")
    if source.wheel and source.path:
        yield mirror / PurePosixPath(source.path).name
        return
    yield from (mirror / f"{label}{suffix}" for suffix in ROW_SUFFIXES)


def _stem(path: str) -> str:
    """Return the path without its form and its shard number."""
    stem = path
    for suffix in sorted(ROW_SUFFIXES, key=len, reverse=True):
        if stem.endswith(suffix):
            stem = stem.removesuffix(suffix)
            break
    return _SHARD.sub("", stem)


def _check(path: Path, source: FileSource, label: str, context: FetchContext) -> None:
    if source.sha256 is None:
        return
    found = remembered_sha256(path, context.root)
    if found != source.sha256 and path.suffix == ".gz":
        found = _unpacked_sha256(path)
    if found != source.sha256:
        raise DataError(
            f"{label}: the mirror's {path} has the sha256 {found}, expected {source.sha256}; "
            "replace it, or take it out of the mirror"
        )


def _unpacked_sha256(path: Path) -> str:
    try:
        with gzip.open(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, EOFError) as error:
        raise DataError(f"the mirror's {path} is damaged ({error}); replace it") from error
