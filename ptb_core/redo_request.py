"""The durable wish to do finished stages of a cell again: ``redo.json`` in its folder.

Nothing is taken back when it is written. A stage that it names counts as not done until an attempt
later than the one it names has succeeded, so a killed supervisor's successor continues it; when an
attempt fails for good, the earlier attempts become the current ones again. Markers point to the
current attempt, and every attempt keeps its own copy of the marker, so nothing is ever overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ptb_core.atomic import write_bytes, write_json
from ptb_core.damage import read_stored
from ptb_core.errors import RecordError
from ptb_core.run_folder import CellFolder
from ptb_core.stages.markers import read_marker_head

RedoKind: TypeAlias = Literal["retry", "rejudge", "reevaluate", "rescore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedoRequest:
    """What is to be done again.

    Attributes:
        kind: What asked for it; the record that comes of it says so.
        stages: The attempt that counted before, by stage. A stage is done anew when its marker
            names a later one.
        requested_unix_s: When.
        schema_version: Version of this form.
    """

    kind: RedoKind
    stages: Mapping[str, int]
    requested_unix_s: float
    schema_version: int = 1

    def is_done_anew(self, folder: CellFolder, stage: str) -> bool:
        """True when a stage has succeeded since the wish, or the wish does not name it."""
        if stage not in self.stages:
            return True
        head = read_marker_head(folder.marker(stage))
        return head is not None and head.attempt > self.stages[stage]


def read_redo(folder: CellFolder) -> RedoRequest | None:
    """Return what a cell is to do again, or None.

    Raises:
        RecordError: If the file is damaged.
    """
    return read_stored(
        folder.redo,
        RedoRequest,
        "remove it: the cell then counts as it did before, and what was to be done again can be "
        "asked for anew",
    )


def write_redo(folder: CellFolder, kind: RedoKind, stages: Collection[str]) -> RedoRequest:
    """Ask for stages to be done again; the caller holds the cell's claim.

    What an earlier wish still has open stays part of the new one.

    Args:
        folder: The cell's folder.
        kind: What asks for it.
        stages: Names of the stages, all of them done; ``record`` belongs to every wish.

    Raises:
        RecordError: If a stage was never done, or a marker is damaged.
    """
    earlier = read_redo(folder)
    open_stages = earlier.stages if earlier is not None else {}
    wish = RedoRequest(
        kind=kind,
        stages={**{stage: _current(folder, stage) for stage in stages}, **open_stages},
        requested_unix_s=time.time(),
    )
    write_json(folder.redo, wish)
    return wish


def finish_redo(folder: CellFolder) -> None:
    """Forget the wish: everything is done anew."""
    folder.redo.unlink(missing_ok=True)


def abandon_redo(folder: CellFolder, request: RedoRequest) -> None:
    """Make the earlier attempts the current ones again, then forget the wish.

    Raises:
        OSError: If a marker cannot be written; the wish then stays.
    """
    for stage, attempt in request.stages.items():
        write_bytes(folder.marker(stage), folder.attempt_marker(stage, attempt).read_bytes())
    write_bytes(folder.record, folder.attempt_record(request.stages["record"]).read_bytes())
    finish_redo(folder)


def _current(folder: CellFolder, stage: str) -> int:
    head = read_marker_head(folder.marker(stage))
    if head is None:
        raise RecordError(f"{folder.path.name}: stage {stage} was never done")
    return head.attempt
