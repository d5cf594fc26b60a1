"""What a supervisor has loaded while its agent works: thousands may wait on one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptb_core import supervisor
from ptb_core.cli.main import main

from .small_run import NULL, small_run

HEAVY = {
    "torch", "transformers", "datasets", "vllm", "lm_eval", "docker", "jsonschema", "numpy",
    "aiohttp", "safetensors", "rich", "peft", "gguf", "asyncio", "ssl", "tenacity",
    "yaml",
}  # fmt: skip

PROGRAM = """
import json, sys
from pathlib import Path
from ptb_core.catalogue import load_catalogue
load_catalogue()  # checks manifests the first time, with jsonschema
if sys.argv[1:]:
    from ptb_core.run_folder import RunFolder
    from ptb_core.stages import solve
    from ptb_core.stages.context import (CellStoppedError)
    from ptb_core.supervisor import supervise

    def look(*_):
        print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
        raise CellStoppedError("seen")

    solve._wait = look
    try:
        supervise(RunFolder(Path(sys.argv[1])), sys.argv[2])
    except CellStoppedError:
        pass
"""


def test_a_supervisor_whose_agent_works_has_loaded_nothing_heavy(tmp_path: Path) -> None:
    folder = small_run(tmp_path)
    environment = {**os.environ, "PTB_CACHE": str(tmp_path / "cache")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    run()
    loaded = set(json.loads(run(str(folder.path), NULL)))
    assert "ptb_core" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("4", "4")])
def test_a_supervisor_computes_with_one_thread_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, used: str
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    seen: list[str] = []
    monkeypatch.setattr(
        supervisor, "supervise", lambda *_: seen.append(os.environ["OPENBLAS_NUM_THREADS"])
    )
    assert main(["cell", str(tmp_path), NULL]) == 0
    assert seen == [used]
