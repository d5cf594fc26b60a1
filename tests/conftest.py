"""Shared fixtures, and the count of tests per marker that CI compares with its minimum."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ptb_core.testing.installed import Site, temporary_site

settings.register_profile("untimed", deadline=None)  # a busy machine breaks no promise
settings.load_profile("untimed")

MARKERS = ("slow", "network", "packaging", "docker", "cli_agents", "gpu", "vllm")


@pytest.fixture
def test_data() -> Path:
    """Folder with real rows of public data sets, named by PTB_TEST_DATA."""
    folder = os.environ.get("PTB_TEST_DATA")
    if not folder:
        pytest.skip("PTB_TEST_DATA names no folder with real data rows")
    return Path(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a cache of its own, unless it asks for a shared one."""
    if "PTB_CACHE" not in os.environ:
        monkeypatch.setenv("PTB_CACHE", str(tmp_path / "ptb-cache"))


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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Write one line per finished test when PTB_TEST_COUNTS names a file."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    path = os.environ.get("PTB_TEST_COUNTS")
    ended = report.when == "call" or (report.when == "setup" and report.outcome != "passed")
    if not path or not ended:
        return
    markers = [name for name in MARKERS if item.get_closest_marker(name)]
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"markers": markers, "outcome": report.outcome}) + "\n")
