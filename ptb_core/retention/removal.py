"""Taking things away for good, so that a crash at any moment leaves them whole or gone.

A removal is noted in the cell's ``removed.jsonl``, then the thing is moved to ``.trash`` in one
step, then deleted there. Killed after the note, it is still whole in its place and the note is
void; killed later, the next removal empties the trash.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from pathlib import Path

from ptb_core.canonical import file_sha256
from ptb_core.errors import PtbError
from ptb_core.retention.notes import Removal, note_removal
from ptb_core.retention.places import Item
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import SealedFile


def remove(folder: CellFolder, item: Item, by: str, freed_bytes: int) -> None:
    """Take one thing from its place; :func:`empty_trash` then deletes it.

    The caller holds the cell's claim.

    Raises:
        PtbError: If it is not below the cell's folder, or a link leads to it.
        OSError: If the note cannot be written or the thing cannot be moved; it is then whole.
    """
    refuse_outside(folder, item.path)
    if item.is_noted:
        removal = Removal(
            what=item.what,
            path=item.path.relative_to(folder.path).as_posix(),
            why=item.why,
            by=by,
            removed_unix_s=time.time(),
            freed_bytes=freed_bytes,
            files=_digests(item),
        )
        note_removal(folder, removal)
    folder.trash.mkdir(exist_ok=True)
    item.path.rename(folder.trash / secrets.token_hex(8))


def empty_trash(folder: CellFolder) -> None:
    """Delete what removals, also ones that were killed, have moved away.

    Nothing in the trash is in use, so this needs no claim.

    Raises:
        OSError: If something cannot be deleted.
    """
    if folder.trash.is_symlink() or not folder.trash.is_dir():
        return
    for thing in sorted(folder.trash.iterdir()):
        delete(thing)


def delete(thing: Path) -> None:
    """Delete a file or folder, closed folders included; links are deleted, never followed."""
    if thing.is_symlink() or not thing.is_dir():
        thing.unlink(missing_ok=True)
        return
    for parent, names, _ in os.walk(thing):
        for name in names:
            child = Path(parent, name)
            if not child.is_symlink():
                child.chmod(0o700)
    shutil.rmtree(thing)


def refuse_outside(folder: CellFolder, path: Path) -> None:
    """Make sure that a path lies below a cell's folder and that no link leads there.

    Raises:
        PtbError: If not.
    """
    try:
        parts = path.relative_to(folder.path).parts
    except ValueError:
        parts = ()
    if not parts or ".." in parts:
        raise PtbError(f"{path} is not removed: it does not lie below {folder.path}")
    place = folder.path.parent.parent
    for part in (folder.path.parent.name, folder.path.name, *parts):
        place = place / part
        if stat.S_ISLNK(place.lstat().st_mode):
            raise PtbError(f"{path} is not removed: {place} is a link")


def _digests(item: Item) -> tuple[SealedFile, ...]:
    """List the files of a thing; digests that are known for their size are not taken again."""
    if not item.is_hashed:
        return ()
    known = {(file.path, file.size): file for file in item.known}
    if item.path.is_file():
        return (_digest(item.path, item.path.name, known),)
    paths = sorted(p for p in item.path.rglob("*") if p.is_file() and not p.is_symlink())
    return tuple(_digest(p, p.relative_to(item.path).as_posix(), known) for p in paths)


def _digest(path: Path, name: str, known: dict[tuple[str, int], SealedFile]) -> SealedFile:
    size = path.stat().st_size
    found = known.get((name, size))
    digest = found.sha256 if found else file_sha256(path)
    return SealedFile(path=name, size=size, sha256=digest)
