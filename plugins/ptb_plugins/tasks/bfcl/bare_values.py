"""Reading an argument text that is no JSON object: a bare value in YAML.

The published client reads such text as YAML 1.1 with PyYAML's safe loader, and so does this, but
within bounds: YAML may be a bomb. What lies outside the bounds is no value that any function here
takes.

Source: golden rows of bfcl, notes ``bare ...``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LONGEST_CHARACTERS = 10_000
"""Longest text that is read as YAML; the longest right value of the benchmark has below 200."""

DEEPEST = 30
"""Deepest nesting that is read as YAML; the deepest right value of the benchmark has two."""


class UnreadableValueError(ValueError):
    """A bare value that lies outside the bounds.

    Attributes:
        raises: True when the published client dies of it.
    """

    def __init__(self, why: str, *, raises: bool) -> None:
        super().__init__(why)
        self.raises = raises


@dataclass(frozen=True, slots=True, kw_only=True)
class BareValue:
    """A value that was read; what is no YAML is itself, as text."""

    value: Any


def read_bare_value(text: str) -> BareValue:
    """Return the value of a text that is no JSON object.

    Raises:
        UnreadableValueError: If it is longer or nested deeper than the bounds, repeats a list or
            mapping by alias, or has the form of a number or date without being one.
    """
    import yaml

    if len(text) > LONGEST_CHARACTERS:
        raise UnreadableValueError(f"longer than {LONGEST_CHARACTERS} characters", raises=False)
    try:
        _check_shape(text)
        return BareValue(value=yaml.safe_load(text))
    except yaml.YAMLError:
        return BareValue(value=text)
    except UnreadableValueError:
        raise
    except Exception as error:
        # PyYAML lets other errors through: of 2024-13-45, of 0x_, of !!int "", of a number of
        # thousands of digits. The published client expects none of them.
        raise UnreadableValueError(f"{type(error).__name__} in PyYAML", raises=True) from error


def _check_shape(text: str) -> None:
    """Read the text's events, which takes no memory, and refuse what could explode.

    An alias of a scalar is harmless, and one of nothing no YAML.
    """
    import yaml

    depth = 0
    collections = set()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) and event.anchor in collections:
            raise UnreadableValueError("repeats a list or mapping by alias", raises=False)
        if isinstance(event, yaml.CollectionStartEvent):
            collections.add(event.anchor)
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise UnreadableValueError(f"nested deeper than {DEEPEST}", raises=False)
