"""A stage's marker: durable proof that it is done, with what it left.

The attempt keeps its own marker for ever; the one beside the attempts is that of the attempt that
counts. Who writes one: :func:`ptb_core.stages.context.write_marker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from ptb_core.damage import parse_stored, read_stored
from ptb_core.run_folder import run_path_of
from ptb_core.specs import JsonValue

ResultT = TypeVar("ResultT")

MARKER_REMEDY = "remove it and run the plan again to repeat this stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerHead:
    """What a marker says besides the stage's result.

    Attributes:
        schema_version: Version of this form.
        stage: Name of the stage.
        attempt: The attempt that did it.
        fence: Fencing number of the supervisor that wrote it.
        finished_unix_s: When.
        result: The stage's result; paths in the run folder are relative to it.
        software: Versions of this project, Python and the libraries that did it; empty in
            markers of versions that did not note them.
        components: Distribution, version and manifest digest of the cell's components then.
    """

    stage: str
    attempt: int
    fence: int
    finished_unix_s: float
    result: msgspec.Raw
    software: Mapping[str, JsonValue] = field(default_factory=dict)
    components: Mapping[str, JsonValue] = field(default_factory=dict)
    schema_version: int = 1


def read_marker(path: Path, result_type: type[ResultT]) -> ResultT | None:
    """Return the result in a stage's marker, or None if the stage is not done.

    Raises:
        RecordError: If the marker is damaged, or another version has written it.
    """
    head = read_marker_head(path)
    if head is None:
        return None
    root = run_path_of(path)
    return parse_stored(head.result, path, result_type, MARKER_REMEDY, root=root, version=None)


def read_marker_head(path: Path) -> MarkerHead | None:
    """Return a marker without looking into its result, or None if the stage is not done.

    Raises:
        RecordError: If the marker is damaged, or another version has written it.
    """
    return read_stored(path, MarkerHead, MARKER_REMEDY)
