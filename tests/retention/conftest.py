"""A run of three repeats of one agent, and everything that is needed to clean it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.plan.model import Retention
from ptb_core.retention.collect import CellFindings, Collector
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import CellSpec

from ..core.small_run import small_run


class World:
    """One run and its cells by repeat."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.run: Run = folder.open()

    def cell(self, repeat: int = 1) -> CellSpec:
        return self.run.cell(f"errands--tiny-qwen3--null--r{repeat}")

    def collector(
        self,
        checkpoints: str = "all",
        workspaces: str = "whole",
        *,
        with_leftovers: bool = False,
    ) -> Collector:
        retention = Retention(checkpoints=checkpoints, workspaces=workspaces)  # type: ignore[arg-type]
        return Collector(
            self.folder,
            self.run,
            load_catalogue(),
            retention,
            by="ptb gc",
            with_leftovers=with_leftovers,
        )

    def clean(self, checkpoints: str = "all", workspaces: str = "whole") -> list[CellFindings]:
        collector = self.collector(checkpoints, workspaces)
        return [collector.clean(found.cell) for found in collector.survey() if found.is_due]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(small_run(tmp_path, agents=[{"name": "null", "scaffold": "null"}], repeats=3))


MakeWorld = Callable[..., World]
