"""A checkpoint's weights as files: safetensors and nothing else.

Needs nothing but Python: it runs where engines run.
"""

from __future__ import annotations

import json
from pathlib import Path

from ptb_plugins.engines.faults import CheckpointFault

PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HEADER_BYTES = 100_000_000
"""Largest header. Source: the safetensors library refuses larger ones."""


def require_safetensors(folder: Path) -> None:
    """Refuse a folder without weights, or with pickled ones alone.

    Raises:
        CheckpointFault: With the reason.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in PICKLE_PATTERNS for path in folder.glob(pattern))
    found = f"; found {', '.join(pickles)}, a pickle, which is never loaded" if pickles else ""
    raise CheckpointFault(f"{folder} holds no .safetensors file{found}")


def require_whole(folder: Path) -> None:
    """Refuse safetensors whose header cannot be read or whose file is too short or too long.

    Only the headers are read, so it takes no time.

    Raises:
        CheckpointFault: With the first file's reason.
    """
    require_safetensors(folder)
    for path in sorted(folder.glob("*.safetensors")):
        reason = _damage(path)
        if reason is not None:
            raise CheckpointFault(f"the weights in {path} cannot be loaded: {reason}")


def _damage(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= HEADER_BYTES:
                return f"its header would have {length} bytes, expected 1 to {HEADER_BYTES}"
            tensors = json.loads(file.read(length))
        ends = [row["data_offsets"][1] for name, row in tensors.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except OSError as error:
        return f"{error.strerror}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return f"its header makes no sense ({type(error).__name__}: {error})"
    found = path.stat().st_size
    return None if found == expected else f"it has {found} bytes, expected {expected}"
