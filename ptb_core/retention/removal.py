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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.canonical import file_sha256
from ptb_core.errors import PtbError
from ptb_core.journal import append_line
from ptb_core.json_codec import encodable, to_builtins
from ptb_core.retention.places import Item, What
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import SealedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One line of ``removed.jsonl``.

    Attributes:
        schema_version: Version of this form.
        what: What it was.
        path: Where it lay, relative to the cell's folder.
        why: Why it went.
        by: Rule and program that removed it.
        removed_unix_s: When.
        freed_bytes: Room on the disk that became free.
        files: Regular files of it with their digests; of a sandbox none.
    """

    what: What
    path: str
    why: str
    by: str
    removed_unix_s: float
    freed_bytes: int
    files: tuple[SealedFile, ...]
    schema_version: int = 1


class RemovedError(PtbError):
    """What is asked for was removed to free the disk; the sentence says when and by which rule."""


def remove(folder: CellFolder, item: Item, by: str, freed_bytes: int) -> None:
    """Take one thing from its place; :func:`empty_trash` then deletes it.

    The caller holds the cell's claim.

    Raises:
        PtbError: If it is not below the cell's folder, or a link leads to it.
        OSError: If the note cannot be written or the thing cannot be moved; it is then whole.
    """
    refuse_outside(folder, item.path)
    if item.is_noted:
        note = Removal(
            what=item.what,
            path=item.path.relative_to(folder.path).as_posix(),
            why=item.why,
            by=by,
            removed_unix_s=time.time(),
            freed_bytes=freed_bytes,
            files=_digests(item),
        )
        append_line(folder.removed, msgspec.json.encode(encodable(to_builtins(note))))
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
    place = folder.path
    for part in ("", *parts):
        place = place / part
        if stat.S_ISLNK(place.lstat().st_mode):
            raise PtbError(f"{path} is not removed: {place} is a link")


def removals(folder: CellFolder) -> tuple[Removal, ...]:
    """Return what was removed of a cell, oldest first; torn or damaged lines are skipped."""
    try:
        lines = folder.removed.read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Removal))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return tuple(found)


def refuse_removed_checkpoint(folder: CellFolder, seal_attempt: int) -> None:
    """Make sure that a sealed checkpoint was not removed to free the disk.

    Call it before anything is repeated that needs the weights: an absent checkpoint must never
    be taken for a submission that does not exist.

    Args:
        folder: The cell's folder.
        seal_attempt: The attempt that sealed it.

    Raises:
        RemovedError: If it was.
    """
    place = folder.attempt("seal", seal_attempt) / "submission"
    if place.exists():
        return
    wanted = place.relative_to(folder.path).as_posix()
    for removal in reversed(removals(folder)):
        if removal.path == wanted:
            raise RemovedError(
                f"{folder.path.name}: its checkpoint was removed on {_date(removal)} by "
                f"{removal.by}: {removal.why}; answers cannot be generated and weights cannot be "
                f"judged again. What it was: {_shown(removal.files)}"
            )


def omissions(folder: CellFolder) -> dict[str, str]:
    """Return what was removed of the evidence: path in it to the reason, for judges."""
    found = {}
    for removal in removals(folder):
        _, inside, rest = removal.path.partition("/evidence/workspace/")
        if inside and not (folder.path / removal.path).exists():
            found[rest] = f"weights: removed on {_date(removal)} by {removal.by}"
    return found


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


def _date(removal: Removal) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(removal.removed_unix_s))


def _shown(files: Sequence[SealedFile]) -> str:
    weights = [file for file in files if file.path.endswith(".safetensors")] or list(files)
    listed = ", ".join(f"{file.path} sha256 {file.sha256}" for file in weights[:2])
    more = f" and {len(files) - len(weights[:2])} more files" if len(files) > 2 else ""
    return f"{listed or 'no file'}{more}"
