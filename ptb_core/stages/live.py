"""``live.json``: what is needed to find a live session again, of this folder and of no other."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from ptb_core.copies import is_copy
from ptb_core.damage import read_stored


class Live(Protocol):
    """What a ``live.json`` holds; ``folder`` is where it was written, empty in older ones."""

    @property
    def folder(self) -> str:
        """Absolute path of the folder that it was written in."""


LiveT = TypeVar("LiveT", bound=Live)


def read_live(path: Path, live_type: type[LiveT], what: str) -> LiveT | None:
    """Return what a supervisor left to find its session again, or None.

    A session that belongs to the folder that this one is a copy of is left alone: None.

    Args:
        path: The ``live.json``.
        live_type: Its form.
        what: What runs in the session, such as ``agent``.

    Raises:
        RecordError: If it is damaged: the session may be alive, and a second one must not be
            started beside it.
    """
    remedy = (
        f"its {what} may still be at work until its deadline: end it, or wait for that, then "
        "remove the file and run the plan again"
    )
    live = read_stored(path, live_type, remedy)
    if live is None or is_copy(live.folder, path.parent):
        return None
    return live
