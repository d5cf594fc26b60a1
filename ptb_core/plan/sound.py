"""The parts of a plan whose form is right although the form of others is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ptb_core.errors import Fault
from ptb_core.specs import JsonValue


class SoundParts:
    """What can be held against the rules of plans before every fault of form is mended.

    Args:
        data: The plan.
        found: Everything in which it breaks its schema.
    """

    def __init__(self, data: Mapping[str, JsonValue], found: Sequence[Fault]) -> None:
        self._data = data
        self._broken = tuple(fault.path for fault in found)

    def has(self, key: str) -> bool:
        """True when the plan has this key and nothing below it is wrong."""
        return key in self._data and not self._is_broken(f"$.{key}")

    def may_read(self, *keys: str) -> bool:
        """True when nothing below any of these keys is wrong; the plan may lack them."""
        return not any(self._is_broken(f"$.{key}") for key in keys)

    def items(self, key: str) -> Iterator[tuple[str, JsonValue]]:
        """Yield the sound items of a list with their paths."""
        value = self._data.get(key)
        if isinstance(value, list):
            for index, item in enumerate(value):
                path = f"$.{key}[{index}]"
                if not self._is_broken(path):
                    yield path, item

    def _is_broken(self, path: str) -> bool:
        below = (path, f"{path}.", f"{path}[")
        return any(broken == path or broken.startswith(below[1:]) for broken in self._broken)
