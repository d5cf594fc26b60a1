from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.golden.material import Golden, Rows


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("PTB_TEST_DATA")
    if not folder:
        pytest.skip("PTB_TEST_DATA does not name the folder with golden rows and data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def golden(real_data: Path) -> Golden:
    return Golden(root=real_data)


@pytest.fixture(scope="session")
def golden_rows(golden: Golden) -> Callable[[str], Rows]:
    return golden.rows
