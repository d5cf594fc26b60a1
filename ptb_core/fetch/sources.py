"""One file from wherever its manifest says it comes from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import msgspec

from ptb_core.cache import locked, remembered_sha256
from ptb_core.canonical import short_hash
from ptb_core.data import data_dir
from ptb_core.errors import DataError
from ptb_core.fetch.context import FetchContext
from ptb_core.fetch.download import HttpStatusError, download
from ptb_core.fetch.hub import HubRepo, RepoKind, fetch_files
from ptb_core.fetch.mirror import mirrored_file
from ptb_core.fetch.wheels import wheel_member
from ptb_core.specs import FileSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSource:
    """A file that is on this machine.

    Attributes:
        path: The file; never to be changed.
        revision: What identifies its content: a hub commit, or ``sha256:`` and a digest.
        origin: Where it came from, for readers: ``hub``, ``wheel``, ``url``, ``packaged`` or
            ``mirror``, with a name.
    """

    path: Path
    revision: str
    origin: str


def resolve_source(
    source: FileSource, label: str, context: FetchContext, kind: RepoKind = "datasets"
) -> ResolvedSource:
    """Return a file from the mirror, the cache, or its source, checked.

    Args:
        source: Where it comes from.
        label: Flat name of the thing, such as ``gsm8k-test``; for mirrors and errors.
        context: Cache, mirror, network, progress.
        kind: Kind of the hub repository, if it is one.

    Raises:
        DataError: If it cannot be had, or is not what its manifest promises.
    """
    if source.packaged is not None:
        return _packaged(source, source.packaged, label, context)
    mirrored = mirrored_file(source, label, context)
    if mirrored is not None:
        return _identified(_keep(mirrored, source, context), f"mirror {mirrored}", context)
    kept = _kept(source, context)
    if kept is None:
        return _fetched(source, label, context, kind)
    try:  # what the source itself gave wins over a mirror's copy
        return _fetched(source, label, replace(context, offline=True), kind)
    except DataError:
        return _identified(kept, f"mirror, kept as {kept}", context)


def _fetched(
    source: FileSource, label: str, context: FetchContext, kind: RepoKind
) -> ResolvedSource:
    if source.hub is not None:
        return _from_hub(source, source.hub, label, context, kind)
    if source.wheel is not None:
        return _from_wheel(source, source.wheel, label, context)
    if source.url is not None:
        return _from_url(source, source.url, label, context)
    raise DataError(f"{label}: its manifest names no packaged, hub, wheel or url to take it from")


def _keep(mirrored: Path, source: FileSource, context: FetchContext) -> Path:
    """Copy a mirror's file into the cache, so that it is there when the mirror is not."""
    folder = _folder_of_kept(source, context)
    target = folder / mirrored.name
    with locked(context.root, f"mirrored/{folder.name}"):
        if not target.is_file() or remembered_sha256(target, context.root) != remembered_sha256(
            mirrored, context.root
        ):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            part = target.with_name(f"{target.name}.part")
            shutil.copyfile(mirrored, part)
            part.replace(target)
    return target


def _kept(source: FileSource, context: FetchContext) -> Path | None:
    """Return the copy that an earlier mirror has left, or None."""
    found = sorted(_folder_of_kept(source, context).glob("*"))
    return next((path for path in found if path.suffix != ".part"), None)


def _folder_of_kept(source: FileSource, context: FetchContext) -> Path:
    return context.root / "mirrored" / short_hash(msgspec.to_builtins(source))


def _identified(path: Path, origin: str, context: FetchContext) -> ResolvedSource:
    digest = remembered_sha256(path, context.root)
    return ResolvedSource(path=path, revision=f"sha256:{digest}", origin=origin)


def check_digest(path: Path, source: FileSource, label: str, context: FetchContext) -> None:
    """Check a file against the digest in its manifest, if there is one.

    Raises:
        DataError: If it has another digest.
    """
    if source.sha256 is None:
        return
    found = remembered_sha256(path, context.root)
    if found != source.sha256:
        raise DataError(
            f"{label}: {path} has the sha256 {found}, expected {source.sha256}; delete the file "
            "and run `ptb prefetch` again"
        )


def _packaged(
    source: FileSource, packaged: str, label: str, context: FetchContext
) -> ResolvedSource:
    path = data_dir() / packaged
    if not path.is_file():
        owner = "its manifest" if Path(packaged).is_absolute() else "posttrainbench"
        raise DataError(
            f"{label}: {path} is missing although it ships with {owner}; install it again"
        )
    check_digest(path, source, label, context)
    return _identified(path, f"packaged {packaged}", context)


def _from_hub(
    source: FileSource, hub: str, label: str, context: FetchContext, kind: RepoKind
) -> ResolvedSource:
    if source.path is None:
        raise DataError(f"{label}: its manifest names no `path` inside {hub}")
    repo = HubRepo(kind=kind, id=hub, revision=source.revision)
    commit, folder = fetch_files(repo, (source.path,), context)
    found = sorted(folder.glob(source.path))
    if len(found) != 1:
        raise DataError(
            f"{label}: {source.path} in {hub} matches {len(found)} files, expected exactly one"
        )
    check_digest(found[0], source, label, context)
    return ResolvedSource(path=found[0], revision=commit, origin=f"hub {hub}")


def _from_wheel(
    source: FileSource, wheel: str, label: str, context: FetchContext
) -> ResolvedSource:
    if source.path is None:
        raise DataError(f"{label}: its manifest names no `path` inside {wheel}")
    path = wheel_member(wheel, source.path, context)
    check_digest(path, source, label, context)
    return _identified(path, f"wheel {wheel}", context)


def _from_url(source: FileSource, url: str, label: str, context: FetchContext) -> ResolvedSource:
    if source.sha256 is None:
        raise DataError(f"{label}: its manifest gives no sha256 for {url}")
    path = context.root / "urls" / source.sha256[:16] / PurePosixPath(url).name
    with locked(context.root, f"url/{url}"):
        if not path.is_file():
            context.refuse_offline(label, url)
            try:
                download(url, path, label, context, sha256=source.sha256)
            except HttpStatusError as error:
                raise DataError(
                    f"{label}: {url} answered with {error}; name a folder that holds the file "
                    "with --mirror or PTB_MIRROR"
                ) from error
    check_digest(path, source, label, context)
    return _identified(path, f"url {url}", context)
