"""The Hugging Face hub: commits are pinned, files listed, downloaded and checked.

Works with the hub client when it is installed (faster transfers) and with plain HTTPS when not.
Both respect ``HF_ENDPOINT``, ``HF_TOKEN`` and the stored log-in.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

import msgspec

from ptb_core.atomic import write_json
from ptb_core.cache import locked, remembered_sha256
from ptb_core.errors import DataError
from ptb_core.fetch.context import FetchContext
from ptb_core.fetch.download import HttpStatusError, download, get_json
from ptb_core.specs import JsonValue

RepoKind: TypeAlias = Literal["models", "datasets"]

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Files of a model that are fetched: top level only, no pickles, no code, no other formats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepo:
    """A repository of the hub.

    Attributes:
        kind: Models and data sets live under different addresses.
        id: Such as ``openai/gsm8k``.
        revision: Commit wanted; None takes the one pinned in the cache, else the newest.
    """

    kind: RepoKind
    id: str
    revision: str | None

    @property
    def page(self) -> str:
        """Address of the page on which terms are accepted."""
        return f"{endpoint()}/{'datasets/' if self.kind == 'datasets' else ''}{self.id}"

    def file_url(self, commit: str, name: str) -> str:
        """Return the address of a file at a commit."""
        return f"{self.page}/resolve/{commit}/{quote(name)}"

    def folder(self, root: Path, commit: str) -> Path:
        """Return where the files of a commit lie in the cache."""
        return root / "hub" / self.kind / self.id / commit


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a repository: name, and size and sha256 where the hub tells them."""

    name: str
    size: int | None = None
    sha256: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a repository at a commit."""

    commit: str
    files: tuple[HubFile, ...]


def endpoint() -> str:
    """Return the hub's address: ``$HF_ENDPOINT`` or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def cached_commit(repo: HubRepo, context: FetchContext) -> str | None:
    """Return the commit to use without asking the hub, or None when it is not known yet."""
    if repo.revision is not None:
        return repo.revision
    try:
        return msgspec.json.decode(_pin(repo, context).read_bytes(), type=Listing).commit
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def fetch_files(
    repo: HubRepo, patterns: tuple[str, ...], context: FetchContext
) -> tuple[str, Path]:
    """Bring the files that match into the cache.

    Args:
        repo: The repository.
        patterns: Names or globs; ``*`` does not cross ``/``.
        context: Cache, network, progress.

    Returns:
        The commit, and the folder that holds its files.

    Raises:
        DataError: If access is refused, nothing matches, or a download fails.
    """
    with locked(context.root, f"hub/{repo.kind}/{repo.id}"):
        commit = cached_commit(repo, context)
        listing = _cached_listing(repo, commit, context) if commit else None
        if listing is None:
            context.refuse_offline(repo.id, repo.page)
            listing = _list(repo, context)
        folder = repo.folder(context.root, listing.commit)
        for file in _matching(repo, listing, patterns):
            if not _is_there(folder / file.name, file):
                context.refuse_offline(f"{repo.id}/{file.name}", repo.page)
                _fetch(repo, listing.commit, file, folder, context)
    return listing.commit, folder


def _matching(repo: HubRepo, listing: Listing, patterns: tuple[str, ...]) -> list[HubFile]:
    found = [file for file in listing.files if _matches(file.name, patterns)]
    if not found:
        names = ", ".join(file.name for file in listing.files[:10]) or "nothing"
        raise DataError(
            f"{repo.id} at {listing.commit} holds no {' or '.join(patterns)}; found {names}"
        )
    return found


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(
        name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)
        for pattern in patterns
    )


def _is_there(path: Path, file: HubFile) -> bool:
    return path.is_file() and file.size in (None, path.stat().st_size)


def _pin(repo: HubRepo, context: FetchContext) -> Path:
    return context.root / "hub" / repo.kind / repo.id / "pinned.json"


def _listing_path(repo: HubRepo, commit: str, context: FetchContext) -> Path:
    return context.root / "hub" / repo.kind / repo.id / f"{commit}.files.json"


def _cached_listing(repo: HubRepo, commit: str, context: FetchContext) -> Listing | None:
    try:
        content = _listing_path(repo, commit, context).read_bytes()
        return msgspec.json.decode(content, type=Listing)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def _list(repo: HubRepo, context: FetchContext) -> Listing:
    revision = quote(repo.revision or "main", safe="")
    url = f"{endpoint()}/api/{repo.kind}/{repo.id}/revision/{revision}?blobs=true"
    try:
        answer = get_json(url, _token_header())
    except HttpStatusError as error:
        raise refused(repo, error.status) from error
    listing = _listing(answer, url)
    path = _listing_path(repo, listing.commit, context)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, listing)
    if repo.revision is None:
        write_json(_pin(repo, context), listing)
    return listing


def _listing(answer: JsonValue, url: str) -> Listing:
    try:
        return Listing(
            commit=answer["sha"],
            files=tuple(_hub_file(entry) for entry in answer["siblings"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{url} answered in a form that is not the hub's: no {error}") from error


def _hub_file(entry: Mapping[str, JsonValue]) -> HubFile:
    sha256 = (entry.get("lfs") or {}).get("sha256")
    return HubFile(name=entry["rfilename"], size=entry.get("size"), sha256=sha256)


def _fetch(repo: HubRepo, commit: str, file: HubFile, folder: Path, context: FetchContext) -> None:
    target = folder / file.name
    what = f"{repo.id}/{file.name}"
    try:
        if importlib.util.find_spec("huggingface_hub") is not None:
            _fetch_with_client(repo, commit, file, folder)
        else:
            url = repo.file_url(commit, file.name)
            download(url, target, what, context, sha256=file.sha256, headers=_token_header())
    except HttpStatusError as error:
        raise refused(repo, error.status) from error
    size = target.stat().st_size
    context.progress(what, size, size)
    found = remembered_sha256(target, context.root)
    if file.sha256 is not None and found != file.sha256:
        target.unlink()
        raise DataError(
            f"{what} arrived with the sha256 {found}, the hub says {file.sha256}; it was deleted, "
            "run `ptb prefetch` again"
        )


def _fetch_with_client(repo: HubRepo, commit: str, file: HubFile, folder: Path) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        huggingface_hub.hf_hub_download(
            repo.id,
            file.name,
            repo_type=repo.kind.removesuffix("s"),
            revision=commit,
            local_dir=folder,
            endpoint=endpoint(),
        )
    except HfHubHTTPError as error:
        if error.response is None:
            raise DataError(f"{repo.id}/{file.name} could not be fetched ({error})") from error
        raise HttpStatusError(error.response.status_code, str(error)) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise DataError(
            f"{repo.id}/{file.name} could not be fetched from {endpoint()} ({error}); check the "
            "network, or name a folder that holds the file with --mirror or PTB_MIRROR"
        ) from error


def refused(repo: HubRepo, status: int) -> DataError:
    """Return the error for a repository that the hub does not give out."""
    if status in (401, 403):
        return DataError(
            f"{repo.id}: the hub refuses access (HTTP {status}). Log in, accept the terms on "
            f"{repo.page} and set HF_TOKEN to a token that may read it (or run `hf auth login`); "
            "then run `ptb prefetch` again"
        )
    if status == 404:
        at = f" at revision {repo.revision}" if repo.revision else ""
        return DataError(
            f"{repo.id}{at} is not on {endpoint()} (HTTP 404); check the name and revision in its "
            "manifest, and HF_TOKEN if it is private"
        )
    return DataError(f"{repo.id}: {endpoint()} answered with HTTP {status}; try again later")


def token_source() -> str | None:
    """Return where the hub's token comes from, or None without one; never the token."""
    if os.environ.get("HF_TOKEN"):
        return "HF_TOKEN"
    return "the stored log-in" if _stored_token() else None


def _token_header() -> Mapping[str, str]:
    token = os.environ.get("HF_TOKEN") or _stored_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _stored_token() -> str:
    try:
        home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
        path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
        return path.read_text("utf-8").strip()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: there is no home folder
        return ""
