"""Stands in for the local sandbox's ``guardian.py``: the same guardian, but one of them is doomed.

``doom.json`` in the round's folder says where the real guardian is, which stage's is doomed and
before which step it dies. The first of that stage takes the file ``armed`` away: its successors
live.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any


def doomed_hook(doom: dict[str, Any], config: Path) -> Any:
    """Return the hook; the launcher, which is no guardian yet, is spared."""
    sys.path.insert(0, str(Path(__file__).parent))
    die_before = importlib.import_module("doomed").die_before
    watched = (str(config.parents[1]), f"/tmp/ptb-{os.getuid()}/")
    hook = die_before(doom["step"], watched, Path(doom["trail"]))
    launcher = os.getpid()
    return lambda event, arguments: os.getpid() != launcher and hook(event, arguments)


if __name__ == "__main__":
    config = Path(sys.argv[1])
    place = next(folder for folder in config.parents if (folder / "doom.json").exists())
    doom = json.loads((place / "doom.json").read_bytes())
    armed = place / "armed"
    if f"/stages/{doom['stage']}/" in str(config) and armed.exists():
        armed.unlink()
        sys.addaudithook(doomed_hook(doom, config))
    real = Path(doom["guardian"])
    sys.path.insert(0, str(real.parent))
    sys.exit(importlib.import_module("guard.start").main(sys.argv[1:]))
