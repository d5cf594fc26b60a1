"""A run folder whose plugins were uninstalled says which distributions it needs."""

from __future__ import annotations

import json

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.lock import plan_components
from ptb_core.missing_plugins import refuse_missing
from ptb_core.run_folder import RunFolder

from ..core.small_run import small_run


def begun_with(folder: RunFolder, **components: str) -> RunFolder:
    """Rewrite a run's head as if it had been begun with these components."""
    head = json.loads(folder.head.read_bytes())
    head["software"] = {
        "components": {
            key.replace("_", "/"): {"distribution": distribution, "version": "1.0"}
            for key, distribution in components.items()
        }
    }
    folder.head.write_text(json.dumps(head))
    return folder


def test_what_is_gone_is_named_with_how_to_get_it_back(tmp_path, capsys):
    folder = begun_with(
        small_run(tmp_path),
        scaffold_robot="ptb-robot",
        task_riddles="ptb-riddles",
        task_gsm8k="posttrainbench",
    )
    plan = str(tmp_path / "plan.json")
    assert main(["run", "--plan", plan, "--run-dir", str(folder.path)]) == 2
    assert capsys.readouterr().err == (
        f"ptb: {folder.path} was begun with plugins that are not installed now; nothing was "
        "started:\n"
        "  scaffold robot of ptb-robot 1.0: pip install 'ptb-robot==1.0'\n"
        "  task riddles of ptb-riddles 1.0: pip install 'ptb-riddles==1.0'\n"
        "Its records can be read without them: `ptb status` and `ptb leaderboard`\n"
    )


@pytest.mark.parametrize("components", [{}, {"task_gsm8k": "posttrainbench"}])
def test_a_run_whose_plugins_are_all_there_goes_on(tmp_path, components):
    refuse_missing(begun_with(small_run(tmp_path), **components), load_catalogue())


def test_a_folder_that_holds_no_run_is_none_of_its_business(tmp_path):
    refuse_missing(RunFolder(tmp_path), load_catalogue())


def test_the_distribution_of_every_component_of_a_plan_is_known(tmp_path):
    plan = small_run(tmp_path).open().plan
    found = plan_components(load_catalogue(), plan)
    assert {key.partition("/")[0] for key in found} == {
        "task", "model", "scaffold", "sandbox", "engine", "executor", "judge",
    }  # fmt: skip
    assert {one["distribution"] for one in found.values()} == {"posttrainbench"}
