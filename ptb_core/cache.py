"""Where downloaded things are kept, and the locks that keep two processes from fetching twice.

Everything below the cache can be deleted at any time; ``ptb prefetch`` brings it again. Entries
appear whole or not at all: they are made beside their place and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ptb_core.atomic import write_json
from ptb_core.canonical import file_sha256
from ptb_core.errors import DataError


def cache_root() -> Path:
    """Return the cache's folder: ``$PTB_CACHE``, or posttrainbench in the user's cache folder.

    The folder need not exist.
    """
    given = os.environ.get("PTB_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "posttrainbench"


@contextlib.contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """Hold the cache's lock of this name; waits while another process holds it.

    Raises:
        DataError: If the cache cannot be written.
    """
    folder = root / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / f"{_file_name(name)}.lock").open("w")
    except OSError as error:
        raise unwritable(root, error) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends well, else vanishes.

    Hold the target's lock meanwhile: what a killed process left half made is removed first.

    Raises:
        DataError: If the cache cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise unwritable(target.parent, error) from error
    try:
        yield staging
        staging.chmod(0o755)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def unwritable(path: Path, error: OSError) -> DataError:
    """Return the error for a cache that cannot be written."""
    return DataError(
        f"the cache cannot be written: {path} ({error.strerror or error}); "
        "set PTB_CACHE to a folder with room that you may write to"
    )


class DigestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file's digest and the state of the file it holds for."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


def remembered_sha256(path: Path, root: Path | None = None) -> str:
    """Return a file's sha256, computed once per state of the file (size and time of change).

    The note lies in the cache, so that files in read-only places are hashed once as well.

    Raises:
        OSError: If the file cannot be read.
    """
    absolute = path.resolve()
    state = absolute.stat()
    key = hashlib.sha256(str(absolute).encode()).hexdigest()[:32]
    note = (root or cache_root()) / "digests" / f"{key}.json"
    known = _read_note(note)
    if known and (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns):
        return known.sha256
    record = DigestRecord(
        path=str(absolute),
        size=state.st_size,
        mtime_ns=state.st_mtime_ns,
        sha256=file_sha256(absolute),
    )
    with contextlib.suppress(OSError):  # A cache that cannot be written only costs time.
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, record)
    return record.sha256


def _read_note(note: Path) -> DigestRecord | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=DigestRecord)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def _file_name(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9._=-]+", "--", name)[:80]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
