"""The default grader: whether there is a key for it, never which."""

from __future__ import annotations

from collections.abc import Iterator

from ptb_core.doctor.findings import Finding, ok, warning
from ptb_core.grading.endpoint import key_obstacle, named
from ptb_core.specs import GraderSpec


def findings() -> Iterator[Finding]:
    """Yield whether graded tasks can be scored by plans that name no grader of their own."""
    spec = GraderSpec()
    obstacle = key_obstacle(spec)
    if obstacle is None:
        yield ok(f"{named(spec)}: a key is there: {spec.api_key_env}")
    else:
        yield warning(*obstacle.split("; ", 1))
