"""Loading of plugins is not timed here."""

from __future__ import annotations

import functools

import pytest

import ptb_core.catalogue
from ptb_core.plugins import load_plugins


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loading take no time, so that a busy machine adds no note about slow plugins."""
    frozen = functools.partial(load_plugins, clock=lambda: 0.0)
    monkeypatch.setattr(ptb_core.catalogue, "load_plugins", frozen)
