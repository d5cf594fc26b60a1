"""A checkpoint's weights as files: safetensors and nothing else.

Needs nothing but Python: it runs where engines run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
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


MERGED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Matrices that a server may keep as one, and then not notice that a part was never loaded."""


def require_whole(folder: Path) -> None:
    """Refuse safetensors that are damaged, or lack a part of a merged matrix.

    Only the headers are read, so it takes no time.

    Raises:
        CheckpointFault: With the first reason.
    """
    require_safetensors(folder)
    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        found = _tensor_names(path)
        if isinstance(found, str):
            raise CheckpointFault(f"the weights in {path} cannot be loaded: {found}")
        names |= found
    lacking = sorted(_lacking_parts(names))
    if lacking:
        raise CheckpointFault(
            f"the weights in {folder} lack {len(lacking)} tensors that others need: "
            f"{', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}"
        )


def _lacking_parts(names: set[str]) -> Iterator[str]:
    """Yield the parts that a layer lacks though it has another, and other layers have them.

    Source: vLLM 0.32 serves such weights, with what lay in memory in place of the part.
    """
    for parts in MERGED:
        known = [part for part in parts if any(f".{part}.weight" in name for name in names)]
        for name in names:
            for part in parts:
                if name.endswith(f".{part}.weight"):
                    stem = name.removesuffix(f"{part}.weight")
                    yield from {f"{stem}{other}.weight" for other in known} - names


def _tensor_names(path: Path) -> set[str] | str:
    """Return the names of a file's tensors, or why it cannot be loaded."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= HEADER_BYTES:
                return f"its header would have {length} bytes, expected 1 to {HEADER_BYTES}"
            tensors = json.loads(file.read(length))
        rows = {name: row for name, row in tensors.items() if name != "__metadata__"}
        expected = 8 + length + max((row["data_offsets"][1] for row in rows.values()), default=0)
    except OSError as error:
        return f"{error.strerror}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return f"its header makes no sense ({type(error).__name__}: {error})"
    found = path.stat().st_size
    return set(rows) if found == expected else f"it has {found} bytes, expected {expected}"
