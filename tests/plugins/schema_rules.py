"""Every rule of a manifest's schema, named by where it holds: the rows that the table must have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ptb_core.schemas import schema_path

NO_RULES = {"$schema", "$id", "$defs", "$ref", "title", "description", "default", "items"}
"""Keywords that refuse nothing by themselves."""


def rules_of(kind: str) -> list[str]:
    """Return every rule of a kind's schema, such as ``$.data[].name pattern``."""
    schema = json.loads(schema_path(kind).read_text("utf-8"))
    return list(_rules(schema, schema, "$"))


def _rules(node: Any, root: Any, path: str) -> Iterator[str]:
    if "$ref" in node:
        node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **node}
    for keyword, value in node.items():
        if keyword == "required":
            yield from (f"{path}.{key} required" for key in value)
        elif keyword == "properties":
            for key, inner in value.items():
                yield from _rules(inner, root, f"{path}.{key}")
        elif keyword == "additionalProperties":
            assert value is False, f"no row can be derived for {path} {keyword}: {value}"
            yield f"{path} {keyword}"
        elif keyword not in NO_RULES:
            yield f"{path} {keyword}"
    if "items" in node:
        yield from _rules(node["items"], root, f"{path}[]")
