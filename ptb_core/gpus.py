"""Which GPUs of this machine a process may use."""

from __future__ import annotations

import os

from ptb_core.lock import gpu_lines


def visible_gpus() -> tuple[str, ...]:
    """Return the ids of the GPUs that this process may use: CUDA_VISIBLE_DEVICES, else all."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(part.strip() for part in given.split(",") if part.strip())
    return tuple(str(number) for number in range(len(gpu_lines())))


def gpus_of_condition(number: int) -> tuple[str, ...]:
    """Return the GPUs of a cell: the first ``number`` that its supervisor may use.

    Whoever places cells gives each supervisor its own by CUDA_VISIBLE_DEVICES; nothing here
    keeps two cells from the same one.
    """
    return visible_gpus()[:number] if number else ()
