"""The journal of a cell: one JSON line per event, append-only.

Events are ``claimed``, ``started``, ``done``, ``failed``, ``abandoned`` and ``note``. The journal
tells the story; what is *true* are the stage markers. A torn last line (crash while writing) is
skipped by readers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

from ptb_core.atomic import write_all
from ptb_core.disk.faults import naming_file
from ptb_core.errors import RecordError
from ptb_core.json_codec import encodable, to_builtins
from ptb_core.specs import JsonValue

LineT = TypeVar("LineT")
_FromZero: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

EventName: TypeAlias = Literal["claimed", "started", "done", "failed", "abandoned", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a journal.

    Attributes:
        event: What happened.
        unix_s: When, wall clock.
        fence: Fencing number of the supervisor.
        stage: Stage concerned, empty for the cell as a whole.
        attempt: Attempt of the stage, 0 for the cell as a whole.
        text: For readers.
        data: Further facts.
    """

    event: EventName
    unix_s: Annotated[float, msgspec.Meta(ge=0)]
    fence: _FromZero
    stage: str = ""
    attempt: _FromZero = 0
    text: str = ""
    data: Mapping[str, JsonValue] = field(default_factory=dict)


def append_event(
    path: Path,
    event: EventName,
    fence: int,
    *,
    stage: str = "",
    attempt: int = 0,
    text: str = "",
    data: Mapping[str, JsonValue] | None = None,
) -> None:
    """Append one event durably.

    Raises:
        OSError: If it cannot be written.
    """
    line = Event(
        event=event,
        unix_s=time.time(),
        fence=fence,
        stage=stage,
        attempt=attempt,
        text=text,
        data=data or {},
    )
    append_line(path, msgspec.json.encode(encodable(to_builtins(line))))


def append_line(path: Path, line: bytes) -> None:
    """Append one line durably; a torn last line before it costs itself only.

    Raises:
        OSError: If it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        with naming_file(path):
            write_all(descriptor, _line_start(path) + line + b"\n")
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_events(path: Path) -> tuple[Event, ...]:
    """Return all whole and sound lines of a journal; none if it does not exist.

    Raises:
        RecordError: If the file is there and cannot be read.
    """
    return read_lines(path, Event, "the cell's journal")


def read_lines(path: Path, line_type: type[LineT], what: str) -> tuple[LineT, ...]:
    """Return all sound lines of a file of JSON lines; none if it does not exist.

    Torn and damaged lines are left out: what they said is known from nowhere else, and nothing
    that is *true* stands in such a file alone.

    Raises:
        RecordError: If the file is there and cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise RecordError(
            f"{path}: {what} cannot be read ({error.strerror}); mend that, or move it away to "
            "begin it anew"
        ) from error
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=line_type))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return tuple(found)


def last_events(events: Iterable[Event]) -> dict[tuple[str, int], Event]:
    """Return how each attempt stands, by stage and number: its start, or its end if it has one.

    A supervisor that lost its claim may still say that it leaves; an attempt that its successor
    has continued goes on all the same, so only the highest fence's word counts.
    """
    last: dict[tuple[str, int], Event] = {}
    for event in events:
        key = (event.stage, event.attempt)
        if event.event not in ("started", "done", "failed", "abandoned"):
            continue
        if key not in last or event.fence >= last[key].fence:
            last[key] = event
    return last


def _line_start(path: Path) -> bytes:
    """A newline if the last line is torn, so that the next event stands on its own line."""
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return b""
        stream.seek(-1, os.SEEK_END)
        return b"" if stream.read(1) == b"\n" else b"\n"
