"""What loading a plugin costs everybody: every ``ptb`` command waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Returns seconds that only ever grow; :func:`time.perf_counter` unless a test gives another."""

SLOW_S = 0.2
"""Longest time that an import or a hook should take; the whole of `ptb list` is to take 0.3."""

HEAVY_MODULES = (
    "accelerate", "anthropic", "datasets", "docker", "gguf", "jax", "litellm", "lm_eval", "numpy",
    "openai", "pandas", "peft", "ray", "scipy", "sklearn", "submitit", "tensorflow", "torch",
    "transformers", "vllm",
)  # fmt: skip
"""Modules that take from 0.1 to several seconds to import."""


class LoadCost:
    """Measures one plugin while it is loaded.

    Attributes:
        steps: Name of each step, such as ``import``, and how long it took in seconds, in order.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.steps: list[tuple[str, float]] = []
        self._clock = clock
        self._since = clock()
        self._known = _heavy_loaded()

    def lap(self, step: str) -> None:
        """Say that a step has ended just now."""
        now = self._clock()
        self.steps.append((step, now - self._since))
        self._since = now

    @property
    def seconds(self) -> float:
        """Time of all steps together."""
        return sum(seconds for _, seconds in self.steps)

    def notes(self) -> list[str]:
        """Return what the plugin's author should change, as the end of a sentence about it."""
        notes = [
            f"is slow: its {step} took {seconds:.2f} s, and should take less than {SLOW_S} s, "
            "because every ptb command waits for it"
            for step, seconds in self.steps
            if seconds > SLOW_S
        ]
        heavy = ", ".join(name for name in _heavy_loaded() if name not in self._known)
        if heavy:
            notes.append(
                f"imports {heavy} while it is loaded, which is slow for every ptb command: move "
                "that import into the function that needs it"
            )
        return notes


def _heavy_loaded() -> tuple[str, ...]:
    return tuple(name for name in HEAVY_MODULES if name in sys.modules)
