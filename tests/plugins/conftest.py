"""Distributions made on the spot, installed for one test as pip would leave them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ptb_core.catalogue
from ptb_core.plugins import load_plugins
from ptb_core.testing.installed import Site, temporary_site


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Site]:
    """A site-packages folder that comes first on the path; what is imported from it goes again."""
    folder = tmp_path / "site"
    folder.mkdir()
    with temporary_site(folder) as site:
        yield site


@pytest.fixture
def site(installed: Site) -> Path:
    return installed.folder


@pytest.fixture
def install(installed: Site) -> Callable[..., None]:
    """Write a distribution's files and metadata into the site folder."""
    return installed.install


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loading take no time, so that a busy machine adds no note about slow plugins."""
    frozen = functools.partial(load_plugins, clock=lambda: 0.0)
    monkeypatch.setattr(ptb_core.catalogue, "load_plugins", frozen)
