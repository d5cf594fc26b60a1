"""What of a cell takes room and may go, and where it lies."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ptb_core.checkpoints import read_tensors
from ptb_core.errors import CheckpointError
from ptb_core.integrity import Verdict
from ptb_core.journal import read_events
from ptb_core.records import Record
from ptb_core.retention.notes import What
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import SealedFile
from ptb_core.stages.context import Judged, Sealed, Solved
from ptb_core.stages.markers import read_marker, read_marker_head
from ptb_core.stages.solve import OUTSIDE_WORKSPACE, SUBMISSION

WEIGHTS_SUFFIX = ".safetensors"
MIN_WEIGHTS_BYTES = 2**20
"""Smaller weights are not worth a removal."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""Names that :mod:`ptb_core.atomic` gives to files that are not whole yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that may go.

    Attributes:
        what: ``checkpoint`` (sealed, or the agent's own copy of it), ``copy`` (weights that the
            sealed checkpoint holds too), ``weights`` (others that the agent left), ``sandbox``
            (of an attempt that came to nothing), ``unfinished`` (a seal that was cut off),
            ``temporary`` (a write that was cut off).
        path: Where it lies.
        why: Why it may go.
        known: Digests that are known already, by path relative to the thing.
    """

    what: What
    path: Path
    why: str
    known: tuple[SealedFile, ...] = ()

    @property
    def is_noted(self) -> bool:
        """True when its removal is kept in mind; what never was whole is forgotten."""
        return self.what not in ("unfinished", "temporary")

    @property
    def is_hashed(self) -> bool:
        """True when the digests of its files are kept in mind."""
        return self.what in ("checkpoint", "copy", "weights")


def has_checkpoint(folder: CellFolder) -> bool:
    """Return True while a sealed checkpoint of the cell lies on the disk."""
    return any(place.is_dir() for _, place in _submissions(folder))


def checkpoints(folder: CellFolder, why: str) -> Iterator[Item]:
    """Yield the sealed checkpoints, and the weights in the agents' own ``final_model``.

    Raises:
        RecordError: If the seal's marker is damaged.
    """
    head = read_marker_head(folder.marker("seal"))
    sealed = read_marker(folder.marker("seal"), Sealed)
    for number, place in _submissions(folder):
        if place.is_dir() and not place.is_symlink():
            known = sealed.files if sealed and head and head.attempt == number else ()
            yield Item(what="checkpoint", path=place, why=why, known=known)
    for number in folder.attempts("solve"):
        frozen = _frozen(folder, number)
        for path in _own_weights(folder, number):
            yield Item(what="checkpoint", path=path, why=why, known=frozen.get(path, ()))


def copies(folder: CellFolder) -> Iterator[Item]:
    """Yield the agent's weights whose bytes the sealed checkpoint holds as well.

    Both digests were taken by us: one at the freeze, one at the seal.

    Raises:
        RecordError: If a marker is damaged.
    """
    seal = read_marker_head(folder.marker("seal"))
    solve = read_marker_head(folder.marker("solve"))
    sealed = read_marker(folder.marker("seal"), Sealed)
    if seal is None or solve is None or sealed is None:
        return
    submission = folder.attempt("seal", seal.attempt) / "submission"
    held = {
        (file.size, file.sha256)
        for file in sealed.files
        if _is_file(submission / file.path, file.size)
    }
    frozen = _frozen(folder, solve.attempt)
    for path in _own_weights(folder, solve.attempt):
        known = frozen.get(path, ())
        if any((f.size, f.sha256) in held and _is_file(path, f.size) for f in known):
            yield Item(what="copy", path=path, why="the sealed checkpoint holds it", known=known)


def other_weights(folder: CellFolder, record: Record, why: str) -> Iterator[Item]:
    """Yield weights that agents left outside ``final_model``, unless a verdict cites them.

    Weights are what a whole safetensors header proves to be floating-point tensors and nothing
    else. No judge reads these for text; pickles, which judges do read, stay.

    Raises:
        RecordError: If a judge's marker is damaged.
    """
    cited = _cited(folder, record)
    trees = list(_left_by_agents(folder))
    kept_inodes = {_inode(tree / name) for tree in trees for name in cited}
    for tree in trees:
        for path in _files(tree):
            name = path.relative_to(tree)
            if name.parts[0] == SUBMISSION or _inode(path) in kept_inodes:
                continue
            if _is_weights(path):
                yield Item(what="weights", path=path, why=why)


def cites_submission(folder: CellFolder, record: Record) -> bool:
    """Return True when a verdict, of the record or an earlier one, cites the checkpoint.

    Raises:
        RecordError: If a judge's marker is damaged.
    """
    return any(path.partition("/")[0] == "submission" for path in _citations(folder, record))


def leftovers(folder: CellFolder) -> Iterator[Item]:
    """Yield what crashes left: cut-off seals and writes, sandboxes of attempts without a result.

    Only while the caller holds the cell's claim are these sure to be nobody's.
    """
    for number in folder.attempts("seal"):
        partial = folder.attempt("seal", number) / ".submission.partial"
        if partial.is_dir() and not partial.is_symlink():
            yield Item(what="unfinished", path=partial, why="a seal that was cut off")
    for stage in ("solve", "generate"):
        yield from _dead_sandboxes(folder, stage)
    for place in (folder.path, folder.claims, *_stage_folders(folder)):
        for path in sorted(place.glob(".*.tmp")):
            if TEMPORARY.fullmatch(path.name) and not path.is_symlink() and path.is_file():
                yield Item(what="temporary", path=path, why="a write that was cut off")


def _dead_sandboxes(folder: CellFolder, stage: str) -> Iterator[Item]:
    """Sandboxes of other attempts than the one that did the stage; none before it is done."""
    head = read_marker_head(folder.marker(stage))
    if head is None:
        return
    for number in folder.attempts(stage):
        if number >= head.attempt or not _came_to_nothing(folder, stage, number):
            continue
        for place in sorted(folder.attempt(stage, number).glob("sandbox*")):
            if place.is_dir() and not place.is_symlink():
                why = f"attempt {number} at {stage} came to nothing"
                yield Item(what="sandbox", path=place, why=why)


def _came_to_nothing(folder: CellFolder, stage: str, number: int) -> bool:
    """A dead supervisor leaves no last word, so only a ``done`` says otherwise."""
    return not folder.attempt_marker(stage, number).exists() and not any(
        event.stage == stage and event.attempt == number and event.event == "done"
        for event in read_events(folder.journal)
    )


def _submissions(folder: CellFolder) -> list[tuple[int, Path]]:
    return [(n, folder.attempt("seal", n) / "submission") for n in folder.attempts("seal")]


def _own_weights(folder: CellFolder, number: int) -> list[Path]:
    """The weights of an agent's own ``final_model``; none where a link leads there."""
    workspace = folder.attempt("solve", number) / "workspace"
    final = workspace / SUBMISSION
    if workspace.is_symlink() or final.is_symlink():
        return []
    return [path for path in _files(final) if path.suffix == WEIGHTS_SUFFIX]


def _frozen(folder: CellFolder, number: int) -> dict[Path, tuple[SealedFile, ...]]:
    """Digests taken at the freeze, each under its bare name, if this attempt did the stage."""
    head = read_marker_head(folder.marker("solve"))
    solved = read_marker(folder.marker("solve"), Solved)
    if head is None or solved is None or head.attempt != number:
        return {}
    workspace = folder.attempt("solve", number) / "workspace"
    return {
        workspace / file.path: (replace(file, path=Path(file.path).name),)
        for file in solved.seal
        if file.type == "file"
    }


def _left_by_agents(folder: CellFolder) -> Iterator[Path]:
    for number in folder.attempts("solve"):
        attempt = folder.attempt("solve", number)
        yield from (attempt / name for name in ("workspace", OUTSIDE_WORKSPACE, "sandbox"))
    for number in folder.attempts("seal"):
        yield folder.attempt("seal", number) / "evidence" / "workspace"


def _stage_folders(folder: CellFolder) -> list[Path]:
    """Folders of stages and attempts themselves: nothing in them was written by an agent."""
    stages = sorted(p for p in (folder.path / "stages").glob("*") if p.is_dir())
    attempts = [p for stage in stages for p in sorted(stage.glob("attempt-*")) if p.is_dir()]
    return [*stages, *attempts]


def _citations(folder: CellFolder, record: Record) -> Iterator[str]:
    verdicts: list[Verdict] = list(record.verdicts)
    stage = folder.stage("judge")
    for marker in (stage / "done.json", *sorted(stage.glob("attempt-*/done.json"))):
        judged = read_marker(marker, Judged)
        verdicts += judged.verdicts if judged else ()
    for verdict in verdicts:
        for finding in verdict.findings:
            yield from (citation.path for citation in finding.citations)


def _cited(folder: CellFolder, record: Record) -> set[str]:
    """Return the paths in the evidence's workspace that a verdict cites."""
    paths = (path.partition("/") for path in _citations(folder, record))
    return {rest for top, _, rest in paths if top == "workspace" and rest}


def _files(folder: Path) -> Iterator[Path]:
    """Yield regular files below a folder without following a link."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if folder.is_symlink():
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _is_file(path: Path, size: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_weights(path: Path) -> bool:
    if path.lstat().st_size < MIN_WEIGHTS_BYTES:
        return False
    try:
        tensors = read_tensors(path)
    except CheckpointError:
        return False
    return bool(tensors) and all("F" in tensor.dtype for tensor in tensors.values())
