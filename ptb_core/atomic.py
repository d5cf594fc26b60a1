"""Files that are there whole or not at all, also after a crash."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ptb_core.disk_faults import naming_file
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
        temporary.unlink(missing_ok=True)
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
        False if the file existed already.

    Raises:
        OSError: If it cannot be written; nothing is then left behind.
    """
    temporary = _temporary(path)
    try:
        _write_whole(temporary, content, path)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: a disk that fills up takes a part first and refuses the next write.

    Raises:
        OSError: If not all of it could be written.
    """
    while content:
        content = content[os.write(descriptor, content) :]


def is_temporary(path: Path) -> bool:
    """Tell whether a file is what a writer of this module leaves that was killed half-way."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


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


def _write_whole(temporary: Path, content: bytes, path: Path) -> None:
    with naming_file(path), temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
