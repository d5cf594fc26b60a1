"""Files that are there whole or not at all, also after a crash.

A writer that is killed may leave its temporary file, named so that :func:`sweep` knows it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from ptb_core.disk.faults import naming_file
from ptb_core.json_codec import encodable, to_builtins


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        OSError: If it cannot be written; the old content is then intact.
    """
    temporary = _temporary(path)
    try:
        _write_whole(temporary, content, path)
        temporary.replace(path)
    except BaseException:
        _remove(temporary)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON, atomically."""
    encoded = msgspec.json.encode(encodable(to_builtins(value)))
    write_bytes(path, msgspec.json.format(encoded, indent=2) + b"\n")


def create_exclusive(path: Path, content: bytes) -> bool:
    """Create a file with its whole content unless it exists; safe on network file systems.

    Uses ``link(2)``, which is atomic on NFS where ``O_EXCL`` once was not.

    Returns:
        False if the file existed already, or if whoever created it has swept this one's
        temporary file away.

    Raises:
        OSError: If it cannot be written; nothing is then left behind.
    """
    temporary = _temporary(path)
    try:
        _write_whole(temporary, content, path)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        if not path.exists():
            raise
        return False
    finally:
        _remove(temporary)
    sync_folder(path.parent)
    return True


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: a disk that fills up takes a part first and refuses the next write.

    Raises:
        OSError: If not all of it could be written.
    """
    while content:
        content = content[os.write(descriptor, content) :]


def is_temporary(name: str) -> bool:
    """Return True for names that only a write or copy of ours has that is under way."""
    return name.startswith(".") and name.endswith((".tmp", ".partial"))


def sweep(folder: Path) -> None:
    """Remove what killed writers left directly in a folder; only its owner may call this."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not is_temporary(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and creations in a folder durable, where the file system knows how."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # what went wrong before is worth more
        temporary.unlink(missing_ok=True)


def _write_whole(temporary: Path, content: bytes, path: Path) -> None:
    with naming_file(path), temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
