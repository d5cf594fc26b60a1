"""How many inputs the property tests take: the same ones at every run, on every machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_CALM = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

FEW = settings(_CALM, max_examples=150)
"""For the default suite."""

MANY = settings(_CALM, max_examples=1800)
"""For the suite marked slow: three kinds of files, at least 5,000 inputs in all."""
