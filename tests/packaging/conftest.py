"""The wheel that every packaging test installs, and one environment for strangers' plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from environments import Environment, build_wheel, fresh_environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return fresh_environment(tmp_path_factory.mktemp("strangers"), wheel)
