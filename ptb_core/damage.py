"""Files of a run folder that are damaged: one sentence for each, and nothing is guessed.

Writers are atomic, so only a failing disk, a copy that broke off or a hand can damage a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from ptb_core.errors import RecordError
from ptb_core.json_codec import from_json

ValueT = TypeVar("ValueT")


class _Head(msgspec.Struct):
    schema_version: int = 1


def read_stored(
    path: Path, value_type: type[ValueT], remedy: str, *, root: Path | None = None, version: int = 1
) -> ValueT | None:
    """Read a JSON file of a run folder, or return None if there is none.

    Args:
        path: The file.
        value_type: Its form.
        remedy: What to do when it is damaged, such as ``remove it and ...``.
        root: The run folder, which relative paths start from.
        version: The ``schema_version`` that this program reads; a file that says none has 1.

    Raises:
        RecordError: If it cannot be read, is damaged, or is of another version.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error, remedy) from error
    return parse_stored(content, path, value_type, remedy, root=root, version=version)


def parse_stored(
    content: bytes | msgspec.Raw,
    path: Path,
    value_type: type[ValueT],
    remedy: str,
    *,
    root: Path | None = None,
    version: int | None = 1,
) -> ValueT:
    """Return what the content of a file holds; see :func:`read_stored`.

    Args:
        content: The file, or a part of it.
        path: The file, for messages.
        value_type: Its form.
        remedy: What to do when it is damaged.
        root: The run folder.
        version: The version that this program reads; None for a part without one.

    Raises:
        RecordError: If it is damaged or of another version.
    """
    try:
        found = msgspec.json.decode(content, type=_Head).schema_version if version else version
        if found != version:
            raise other_version(path, found, version)
        return from_json(content, value_type, root)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is damaged ({error}); {remedy}") from error


def unreadable(path: Path, error: OSError, remedy: str) -> RecordError:
    """Return the error for a file that is there and cannot be read."""
    return RecordError(f"{path} cannot be read ({error.strerror}); mend that, or {remedy}")


def other_version(path: Path, found: object, read: object) -> RecordError:
    """Return the error for a file that another version of this program has written."""
    return RecordError(
        f"{path}: schema_version {found}; this version of ptb reads {read}; "
        "use the version that wrote it"
    )
