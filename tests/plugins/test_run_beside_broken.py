"""A real run beside broken plugins: supervisors load them too, and must not be harmed by them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ptb_core.testing.installed import temporary_site

from .plugin_code import ONE_TASK
from .test_broken import PLAN, hook


@pytest.mark.slow
def test_a_run_reaches_its_leaderboard_whatever_else_is_installed(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps({**PLAN, "judges": [{"name": "lineage"}]}))
    run = tmp_path / "run"
    arguments = ["run", "--plan", str(tmp_path / "small.json"), "--run-dir", str(run)]
    with temporary_site() as site:
        site.install("ptb-gone", {"gone.py": "import no_such_module\n"}, {"gone": "gone"})
        site.install("ptb-exits", {"exits.py": "raise SystemExit(0)\n"}, {"exits": "exits"})
        site.install("ptb-damaged", {}, "[ptb.v1]\nno entry point\n")
        site.install("ptb-half", {"half.py": hook("yield spec('a'); 1 / 0")}, {"half": "half"})
        site.install("ptb-loud", {"loud.py": f"print('x' * 9999)\n{ONE_TASK}"}, {"loud": "loud"})
        done = subprocess.run(
            [sys.executable, "-m", "ptb_core.cli.main", *arguments],
            env=site.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "null" in done.stdout
    assert "xxx" not in done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in run.glob("cells/*/record.json")]
    assert sorted(record["counts"] for record in records) == ["own", "own"]
