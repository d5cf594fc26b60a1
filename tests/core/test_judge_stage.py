"""judge: judges look through a folder whose name says nothing and which nobody leaves behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_core.stages.context import StageContext
from ptb_core.stages.judge import _neutral_folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    made: Any = SimpleNamespace(
        run=SimpleNamespace(run_id="run-id"),
        run_folder=SimpleNamespace(path=tmp_path / "run"),
        cell=SimpleNamespace(id="errands--tiny-qwen3--mine--r1"),
    )
    return cast(StageContext, made)


def test_the_folder_is_private_empty_and_gone_afterwards(here: StageContext) -> None:
    with _neutral_folder(here) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []
        assert not {"mine", "errands", "run-id"} & set(folder.name.split("-"))
    assert not folder.exists()


def test_what_a_killed_supervisor_left_is_replaced(here: StageContext, tmp_path: Path) -> None:
    first = _neutral_folder(here)
    folder = first.__enter__()
    (folder / "workspace").symlink_to(tmp_path)
    with _neutral_folder(here) as again:
        assert again == folder
        assert list(again.iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert tmp_path.is_dir()
    first.__exit__(None, None, None)
