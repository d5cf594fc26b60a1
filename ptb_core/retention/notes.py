"""What was removed of a cell to free the disk: when, by which rule, with which digests.

Append-only lines in the cell's ``removed.jsonl``. A note is written before its removal, so it
holds only where the thing is really gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from ptb_core.errors import PtbError
from ptb_core.journal import append_line, read_lines
from ptb_core.json_codec import encodable, to_builtins
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import SealedFile
from ptb_core.stages.markers import read_marker_head

What: TypeAlias = Literal["checkpoint", "copy", "weights", "sandbox", "unfinished", "temporary"]


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


def note_removal(folder: CellFolder, removal: Removal) -> None:
    """Write a note durably.

    Raises:
        OSError: If it cannot be written.
    """
    append_line(folder.removed, msgspec.json.encode(encodable(to_builtins(removal))))


def removals(folder: CellFolder) -> tuple[Removal, ...]:
    """Return what was removed of a cell, oldest first; torn or damaged lines are skipped.

    Raises:
        RecordError: If the list is there and cannot be read.
    """
    return read_lines(folder.removed, Removal, "the list of what was removed")


def refuse_removed_checkpoint(folder: CellFolder) -> None:
    """Make sure that the sealed checkpoint of a cell was not removed to free the disk.

    Call it before anything is repeated that needs the weights: an absent checkpoint must never
    be taken for a submission that does not exist.

    Raises:
        RemovedError: If it was.
        RecordError: If the seal's marker is damaged.
    """
    head = read_marker_head(folder.marker("seal"))
    if head is None:
        return
    place = folder.attempt("seal", head.attempt) / "submission"
    if place.exists():
        return
    wanted = place.relative_to(folder.path).as_posix()
    for removal in reversed(removals(folder)):
        if removal.path == wanted:
            raise RemovedError(
                f"its checkpoint was removed on {_date(removal)} by "
                f"{removal.by}, because {removal.why}; it can neither answer nor be judged by its "
                f"weights again. It was: {_shown(removal.files)}"
            )


def omissions(folder: CellFolder) -> dict[str, str]:
    """Return what was removed of the evidence: path in it to the reason, for judges."""
    found = {}
    for removal in removals(folder):
        _, inside, rest = removal.path.partition("/evidence/workspace/")
        if inside and not (folder.path / removal.path).exists():
            found[rest] = f"weights: removed on {_date(removal)} by {removal.by}"
    return found


def _date(removal: Removal) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(removal.removed_unix_s))


def _shown(files: Sequence[SealedFile]) -> str:
    weights = [file for file in files if file.path.endswith(".safetensors")]
    listed = [f"{file.path} with sha256 {file.sha256}" for file in weights[:2]]
    more = len(files) - len(listed)
    if more:
        listed.append(f"{more} further file{'' if more == 1 else 's'}")
    return ", ".join(listed)
