"""The files of a base model: a folder with config.json, safetensors and tokenizer."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptb_core.cache import locked, new_folder, remembered_sha256
from ptb_core.data import data_dir
from ptb_core.errors import DataError
from ptb_core.fetch.context import FetchContext, Progress
from ptb_core.fetch.hub import MODEL_FILES, HubRepo, fetch_files
from ptb_core.fetch.mirror import mirrored_model
from ptb_core.fetch.sources import resolve_source
from ptb_core.specs import FileSource, ModelSpec

CONVERSION_TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A base model that is on this machine.

    Attributes:
        path: Folder with config.json, safetensors and tokenizer; never to be changed.
        revision: What identifies the weights: a hub commit, or ``sha256:`` and a digest.
        sha256s: Hex digest of each file by its name.
        origin: Where it came from, for readers.
    """

    path: Path
    revision: str
    sha256s: Mapping[str, str]
    origin: str


def ensure_model(
    model: ModelSpec,
    mirror: Path | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> ModelFiles:
    """Return the base model's files; what is missing is fetched, and converted once.

    Args:
        model: The base model.
        mirror: Folder with local copies; ``$PTB_MIRROR`` by default.
        offline: True forbids the network; ``$PTB_OFFLINE`` by default.
        progress: Who is told how downloads stand.

    Raises:
        DataError: If it cannot be had, is incomplete, or cannot be converted.
    """
    context = FetchContext.from_environment(mirror, offline, progress)
    files = _files(model, context)
    names = set(files.sha256s)
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise DataError(
            f"{model.name}: {files.path} must hold config.json and .safetensors files; found "
            f"{', '.join(sorted(names)) or 'nothing'}"
        )
    return files


def local_files(folder: Path) -> ModelFiles:
    """Return the files of a checkpoint that lies in a folder of the user's.

    Hashes them, once per state of each file.
    """
    return _folder(folder, f"folder {folder}", FetchContext.from_environment())


def _files(model: ModelSpec, context: FetchContext) -> ModelFiles:
    source = model.source
    if source.packaged is not None:
        return _folder(data_dir() / source.packaged, f"packaged {source.packaged}", context)
    copy = mirrored_model(source, model.name, context)
    if copy is not None:
        return _folder(copy, f"mirror {copy}", context)
    if source.convert is not None:
        return _converted(model, context)
    if source.hub is None:
        raise DataError(f"{model.name}: its manifest names no packaged folder and no hub to use")
    repo = HubRepo(kind="models", id=source.hub, revision=source.revision)
    patterns = (source.path,) if source.path else MODEL_FILES
    try:
        commit, folder = fetch_files(repo, patterns, context)
    except OSError as error:
        raise DataError(f"{model.name} could not be stored ({error})") from error
    return _folder(folder, f"hub {source.hub}", context, commit)


def _folder(
    folder: Path, origin: str, context: FetchContext, commit: str | None = None
) -> ModelFiles:
    files = sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))
    digests = {path.name: remembered_sha256(path, context.root) for path in files}
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    revision = commit or f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
    return ModelFiles(path=folder, revision=revision, sha256s=digests, origin=origin)


def _converted(model: ModelSpec, context: FetchContext) -> ModelFiles:
    source = model.source
    if source.convert != "gguf":
        raise DataError(f"{model.name}: unknown conversion {source.convert!r}; known is gguf")
    if source.sha256 is None:
        raise DataError(f"{model.name}: its manifest must pin the sha256 of what is converted")
    target = context.root / "converted" / model.name / source.sha256[:16]
    with locked(context.root, f"convert/{model.name}"):
        if not target.is_dir():
            original = resolve_source(source, model.name, context, kind="models")
            with new_folder(target) as staging:
                context.progress(f"{model.name} (conversion to safetensors)", 0, None)
                _convert_gguf(model, original.path, staging)
    return _folder(target, f"{_came_from(source)}, converted from gguf", context)


def _came_from(source: FileSource) -> str:
    return f"wheel {source.wheel}" if source.wheel else f"hub {source.hub or source.url}"


def _convert_gguf(model: ModelSpec, original: Path, target: Path) -> None:
    """Convert in a process of its own, whose memory is free afterwards."""
    command = [sys.executable, "-m", "ptb_core.fetch.gguf", str(original), str(target)]
    done = subprocess.run(
        [*command, *model.turn_end_tokens],
        capture_output=True,
        text=True,
        timeout=CONVERSION_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DataError(
            f"{model.name}: {original} could not be converted: "
            f"{lines[-1] if lines else f'exit status {done.returncode}'}"
        )
    for path in target.iterdir():
        # Weights are written for their owner alone; a sandbox may read them as somebody else.
        path.chmod(0o644)
