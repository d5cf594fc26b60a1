"""Copied and moved run folders: what belongs to the original must not be touched from a copy.

Claims, live agents and jobs note the folder they were written in. Where that folder still exists
and is another one, whoever reads them reads a copy: the supervisor, the agent and the job are the
original's. A folder that was moved, or is seen under another mount point, is no copy.
"""

from __future__ import annotations

from pathlib import Path


def is_copy(written_in: str, here: Path) -> bool:
    """Return True when what lies in ``here`` was copied from where it was written.

    Args:
        written_in: Absolute path of the folder it was written in; empty if it does not say.
        here: The folder it lies in now.
    """
    if not written_in or written_in == str(here):
        return False
    try:
        # Not the device: one export that is mounted twice may have two.
        return Path(written_in).stat().st_ino != here.stat().st_ino
    except OSError:
        return False
