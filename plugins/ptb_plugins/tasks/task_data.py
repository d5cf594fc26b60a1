"""What tasks share in reading their data: columns, places in a wording, solutions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ptb_core.api import DataError, JsonValue

KNOWN_BY_WORDS = 25
"""Words of the shortest solution that is searched for in what an agent leaves; shorter ones may
be anybody's arithmetic or code."""

_PLACE = re.compile(r"\{(\w+)\}")


def text_column(task: str, row: Mapping[str, JsonValue], column: str, number: int) -> str:
    """Return the text in a column of a row.

    Args:
        task: Name of the task, for the error.
        row: The row.
        column: Name of the column.
        number: Place of the row in its file, from 0.

    Raises:
        DataError: If the row has no text there.
    """
    value = row.get(column)
    if not isinstance(value, str):
        found = ", ".join(map(str, row)) or "nothing"
        raise DataError(f"{task}: row {number} has no text {column!r}; its columns are {found}")
    return value


def check_wording(task: str, template: str, *places: str) -> str:
    """Return a prompt's wording if it has each place that the task fills exactly once.

    Raises:
        DataError: If it has not: a wording of another version, most likely.
    """
    for place in places:
        if template.count(f"{{{place}}}") != 1:
            raise DataError(f"{task}: the prompt's wording must hold {{{place}}} exactly once")
    return template


def filled(template: str, **values: str) -> str:
    """Return a wording with its places filled; braces in the values are left alone."""
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), template)
