"""The same product by pip, by uv, editable, and as a wheel far from any checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(item) for item in argv], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def environment(folder: Path) -> Path:
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin"


def facts(binaries: Path, away: Path) -> dict[str, object]:
    """What the installed product says of itself, asked from a folder with nothing in it."""
    rows = json.loads(run(binaries / "ptb", "list", "--json", cwd=away))
    validated = json.loads(run(binaries / "ptb", "validate", "quickstart", "--json", cwd=away))
    return {
        "rows": [(row["kind"], row["name"]) for row in rows],
        "cells": validated["estimate"]["agent_cells"],
        "plans": run(binaries / "ptb", "run", "--plan", "quickstart", "--dry-run", cwd=away),
        "obstacles": validated["obstacles"],
    }


@pytest.fixture(scope="module")
def by_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("by-wheel")
    binaries = environment(folder / "venv")
    run(binaries / "pip", "install", "-q", "-c", CONSTRAINTS, wheel)
    (folder / "away").mkdir()
    return binaries, folder / "away"


def test_the_wheel_carries_schemas_registry_plans_and_the_small_model(wheel: Path) -> None:
    names = set(run(sys.executable, "-m", "zipfile", "-l", wheel).split())
    for name in (
        "ptb_core/_data/schemas/plan.schema.json",
        "ptb_core/_data/registry/tasks/gsm8k.json",
        "ptb_core/_data/plans/quickstart.json",
        "ptb_core/_data/embedded/models/tiny-qwen3/model.safetensors",
        "ptb_core/_data/embedded/programs/honest_sft.py",
        "ptb_core/evaluation/harness_files/evaluate.py",
        "ptb_core/prompt/default.md",
        "ptb_plugins/tasks/gsm8k/task.py",
    ):
        assert name in names, name
    assert not [name for name in names if "tests/" in name or "__pycache__" in name]


def test_the_base_install_is_light_and_says_what_it_cannot_run(
    by_wheel: tuple[Path, Path],
) -> None:
    binaries, away = by_wheel
    installed = run(binaries / "pip", "list", "--format=freeze")
    assert "torch" not in installed
    assert "transformers" not in installed
    found = facts(binaries, away)
    assert ("sandbox", "local") in found["rows"]  # type: ignore[operator]
    assert any("pip install" in text for text in found["obstacles"])  # type: ignore[attr-defined]


def test_a_base_install_refuses_to_run_before_anything_starts(
    by_wheel: tuple[Path, Path],
) -> None:
    binaries, away = by_wheel
    done = subprocess.run(
        [str(binaries / "ptb"), "run", "--plan", "quickstart"],
        cwd=away,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot run here; nothing was started" in done.stderr
    assert "posttrainbench[evaluation]" in done.stderr
    assert list(away.iterdir()) == []


def test_an_editable_install_says_the_same(by_wheel: tuple[Path, Path], tmp_path: Path) -> None:
    binaries = environment(tmp_path / "venv")
    run(binaries / "pip", "install", "-q", "-c", CONSTRAINTS, "-e", ROOT)
    assert facts(binaries, by_wheel[1]) == facts(*by_wheel)


def test_uv_installs_the_same(by_wheel: tuple[Path, Path], wheel: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    run(uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(uv, "pip", "install", "-q", "--python", python, "-c", CONSTRAINTS, wheel)
    assert facts(python.parent, by_wheel[1]) == facts(*by_wheel)
