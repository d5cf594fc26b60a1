"""Loading: every plugin in its own try, nothing overridden, standard output kept clean.

What is said of each way to be broken stands in ``test_broken.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.errors import PluginError, UsageError
from ptb_core.plugins import load_plugins

from .plugin_code import MINE, ONE_MODEL, ONE_TASK


def reason_of(catalogue: Catalogue, entry_point: str) -> str:
    rows = [row for row in catalogue.rows("plugin") if row.name == entry_point]
    assert len(rows) == 1, catalogue.rows("plugin")
    return rows[0].reason


def test_a_stranger_s_components_stand_beside_the_built_in_ones(install):
    hooks = "@hookimpl\ndef ptb_register_models():\n    yield model('stranger')\n"
    install("ptb-stranger", {"my_plugin.py": ONE_MODEL + hooks}, MINE, version="2.3")
    catalogue = load_catalogue()
    assert catalogue.model("stranger").title == "A"
    assert catalogue.provenance("model", "stranger")[:2] == ("ptb-stranger", "2.3")
    assert "gsm8k" in catalogue.names("task")


def test_an_interrupt_by_the_user_is_not_swallowed(install):
    install("ptb-broken", {"my_plugin.py": "raise KeyboardInterrupt\n"}, MINE)
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


@pytest.mark.parametrize("named", ["mine", "ptb_Stranger", " other , PTB-stranger"])
def test_a_plugin_is_switched_off_by_either_of_its_names(install, site, monkeypatch, named):
    marker = site / "imported"
    install("ptb-stranger", {"my_plugin.py": f"open({str(marker)!r}, 'w')\n"}, MINE)
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", named)
    assert reason_of(load_catalogue(), "mine") == "switched off by PTB_DISABLE_PLUGINS"
    assert not marker.exists()


def test_a_name_to_switch_off_that_nothing_has_is_noted(monkeypatch):
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "no-such-plugin")
    assert (
        "PTB_DISABLE_PLUGINS names 'no-such-plugin', and no plugin or distribution is called so"
    ) in load_plugins().notes


# Hooks ----------------------------------------------------------------------------------------


def test_a_failing_hook_leaves_the_plugin_s_other_hooks_alone(install):
    code = (
        f"{ONE_MODEL}\n@hookimpl\ndef ptb_register_models(): return [model('stranger')]\n"
        "@hookimpl\ndef ptb_register_tasks(): raise ValueError('no')\n"
    )
    install("ptb-half", {"my_plugin.py": code}, MINE)
    catalogue = load_catalogue()
    assert catalogue.model("stranger")
    assert reason_of(catalogue, "mine") == "ptb_register_tasks raised ValueError: no"


def test_hooks_of_an_object_are_called_like_those_of_a_module(install):
    code = (
        f"{ONE_MODEL}\nclass Plugin:\n    @hookimpl\n"
        "    def ptb_register_models(self): return [model('stranger')]\nplugin = Plugin()\n"
    )
    install("ptb-object", {"my_plugin.py": code}, "[ptb.v1]\nmine = my_plugin:plugin\n")
    assert load_catalogue().model("stranger")


# Output ---------------------------------------------------------------------------------------

NOISY = f"""{ONE_MODEL}
import os, subprocess, sys
print("printed")
print("on stderr", file=sys.stderr)
os.write(1, b"written\\n")
subprocess.run(["echo", "by a child"])

@hookimpl
def ptb_register_models():
    print("in the hook")
    return [model("stranger")]
"""


def test_what_a_plugin_prints_is_caught_and_noted(install, capfd):
    install("ptb-noisy", {"my_plugin.py": NOISY}, MINE)
    catalogue = load_catalogue()
    assert capfd.readouterr() == ("", "")
    (note,) = catalogue.notes
    assert note.startswith("ptb-noisy 1.0 (entry point mine) printed while it was loaded, and")
    for text in ("printed", "on stderr", "written", "by a child", "in the hook"):
        assert text in note
    assert catalogue.model("stranger")


def test_json_on_standard_output_stays_clean_beside_a_noisy_plugin(install, site, tmp_path):
    install("ptb-noisy", {"my_plugin.py": NOISY}, MINE)
    environment = {**os.environ, "PYTHONPATH": str(site), "PTB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "ptb_core.cli.main", "list", "--json"],
        env=environment,
        capture_output=True,
        check=True,
    )
    listed = json.loads(done.stdout)
    assert any(row["name"] == "stranger" and row["usable"] for row in listed)
    notes = done.stderr.decode("utf-8").splitlines()
    assert any(note.startswith("note: ptb-noisy 1.0 (entry point mine) printed") for note in notes)
    assert all(note.startswith("note: ") for note in notes)


def test_a_log_handler_made_while_loading_still_works_afterwards(install, site, tmp_path):
    code = f"{NOISY}\nimport logging\nlogging.basicConfig(level='INFO')\n"
    install("ptb-noisy", {"my_plugin.py": code}, MINE)
    program = (
        "from ptb_core.catalogue import load_catalogue\nload_catalogue()\n"
        "import logging\nlogging.info('later')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PTB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert done.stderr == b"INFO:root:later\n"


# Names ----------------------------------------------------------------------------------------


def hook_for(*names: str) -> str:
    models = ", ".join(f"model({name!r})" for name in names)
    return f"{ONE_MODEL}\n@hookimpl\ndef ptb_register_models(): return [{models}]\n"


def test_switching_one_of_two_namesakes_off_brings_the_other_back(install, monkeypatch):
    install("ptb-one", {"one.py": hook_for("twin")}, "[ptb.v1]\none = one\n")
    install("ptb-two", {"two.py": hook_for("twin")}, "[ptb.v1]\ntwo = two\n")
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "two")
    assert load_catalogue().provenance("model", "twin").distribution == "ptb-one"


@pytest.mark.parametrize(
    ("name", "advice"), [("twin", "two,three"), ("qwen3-4b-base", "one,two,three")]
)
def test_what_is_advised_against_namesakes_brings_one_of_them_back(
    install, monkeypatch, name, advice
):
    for entry_point in ("one", "two", "three"):
        text = f"[ptb.v1]\n{entry_point} = {entry_point}_code\n"
        distribution = {"one": "aaa", "two": "bbb", "three": "zzz"}[entry_point]
        install(distribution, {f"{entry_point}_code.py": hook_for(name)}, text)
    catalogue = load_catalogue()
    assert catalogue.row("model", name).reason.endswith(f"with PTB_DISABLE_PLUGINS={advice}")
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", advice)
    load_catalogue.cache_clear()
    assert load_catalogue().row("model", name).usable


def test_a_stranger_cannot_replace_a_built_in_component(install):
    install("ptb-evil", {"my_plugin.py": hook_for("qwen3-4b-base")}, MINE)
    with pytest.raises(PluginError) as caught:
        load_catalogue().model("qwen3-4b-base")
    assert "posttrainbench" in str(caught.value)
    assert "ptb-evil 1.0 (entry point mine)" in str(caught.value)


def test_what_could_not_be_loaded_takes_no_name_from_what_could(install):
    code = (
        f"{ONE_MODEL}\n@hookimpl\ndef ptb_register_models():\n"
        "    yield model('qwen3-4b-base')\n    raise ValueError('no')\n"
    )
    install("aaa-odd", {"my_plugin.py": code}, MINE)
    catalogue = load_catalogue()
    assert catalogue.provenance("model", "qwen3-4b-base").distribution == "posttrainbench"
    rows = [row for row in catalogue.rows("model") if row.name == "qwen3-4b-base"]
    assert [(row.distribution, row.usable) for row in rows] == [
        ("posttrainbench", True),
        ("aaa-odd", False),
    ]


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names(install):
    install("ptb-broken", {"my_plugin.py": "1/0\n"}, MINE)
    with pytest.raises(UsageError) as caught:
        load_catalogue().task("gsm8")
    message = str(caught.value)
    assert message.startswith("there is no task 'gsm8' (did you mean 'gsm8k'?); the tasks are: ")
    assert "aime2025" in message
    assert "It may belong to a plugin that is not loaded (" in message
    assert "ptb-broken 1.0 (entry point mine)" in message


def test_facts_that_break_the_rules_disable_that_component_alone(install):
    code = (
        f"{ONE_MODEL}\n@hookimpl\ndef ptb_register_models():\n"
        "    yield model('Not_Kebab', parameters=0, chat_template='x.jinja')\n"
        "    yield model('fine')\n"
        "    yield model('vague', source=FileSource(hub='a/b', url='https://c'))\n"
    )
    install("ptb-rules", {"my_plugin.py": code}, MINE)
    catalogue = load_catalogue()
    assert catalogue.model("fine")
    broken = catalogue.row("model", "Not_Kebab")
    assert "its spec: 2 faults" in broken.reason
    assert '$.name: found "Not_Kebab"; expected lower-case letters and digits' in broken.reason
    assert "$.parameters: found 0; expected a number of at least 1" in broken.reason
    assert "$.source: found hub and url; expected exactly one of packaged" in (
        catalogue.row("model", "vague").reason
    )


def test_a_component_that_is_unusable_here_is_given_out_only_on_request(install):
    code = (
        f"{ONE_TASK}\nclass Here(Capitals):\n    def unusable_reason(self): return 'buy a GPU'\n"
        "@hookimpl\ndef ptb_register_tasks(): return [Here(spec('here'))]\n"
    )
    install("ptb-here", {"my_plugin.py": code}, MINE)
    catalogue = load_catalogue()
    with pytest.raises(PluginError, match="cannot be used: buy a GPU"):
        catalogue.get("task", "here")
    assert catalogue.get("task", "here", allow_unusable=True).spec.title == "T"
    assert catalogue.unusable_reason("task", "here") == "buy a GPU"


def test_the_catalogue_is_loaded_once_per_process(site: Path):
    assert load_catalogue() is load_catalogue()


# Rules of specs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            'Setting(name="mode", description="M.", type="string", default="c", choices=("a",))',
            "$.settings[0].default: found 'c'; expected one of a",
        ),
        (
            'Setting(name="size", description="S.", type="integer", default="big")',
            "$.settings[0].default: found 'big'; expected an integer",
        ),
        (
            'Setting(name="a", description="A.", type="string"),'
            'Setting(name="a", description="A.", type="string")',
            "$.settings[1].name: found 'a' again; expected another name",
        ),
    ],
)
def test_settings_must_have_names_of_their_own_and_defaults_that_fit(install, settings, fault):
    code = f"""
from ptb_core.api import Executor, ExecutorSpec, Setting, hookimpl

class Nowhere(Executor):
    def submit(self, command, resources, settings): raise NotImplementedError
    def poll(self, job): raise NotImplementedError
    def cancel(self, job): raise NotImplementedError

@hookimpl
def ptb_register_executors():
    return [Nowhere(ExecutorSpec(name="nowhere", description="D.", settings=({settings},)))]
"""
    install("ptb-rules", {"my_plugin.py": code}, MINE)
    assert fault in load_catalogue().row("executor", "nowhere").reason


def test_a_described_task_refuses_every_step_of_an_evaluation():
    from ptb_core.described_task import DescribedTask
    from ptb_core.evaluation.exchange import DataDir, Sample
    from ptb_core.specs import TaskSpec

    spec = TaskSpec(
        name="riddles", title="R", description="R.", metric="m", n_samples=1, max_tokens=1
    )
    task = DescribedTask(spec, "ptb-facts 1.0")
    sample = Sample(id="1", input={}, target="")
    steps = [
        lambda: task.samples(DataDir(files={})),
        lambda: task.requests(sample, "published"),
        lambda: task.score(sample, (), "published"),
        lambda: task.aggregate((), "published"),
    ]
    for step in steps:
        with pytest.raises(PluginError) as caught:
            step()
        assert str(caught.value) == (
            "the task 'riddles' cannot be evaluated: described only: its evaluation code is not "
            "part of ptb-facts 1.0"
        )


def test_a_name_that_a_known_distribution_brings_is_answered_with_it(tmp_path, monkeypatch):
    import ptb_core.catalogue

    known = {
        "distribution": "ptb-scaffold-robot",
        "description": "A robot.",
        "url": "https://example.org/robot",
        "brings": [{"kind": "scaffold", "name": "robot"}],
    }
    catalogue = load_catalogue()
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "plugins.json").write_text(json.dumps({"plugins": [known]}))
    monkeypatch.setattr(ptb_core.catalogue, "data_dir", lambda: tmp_path)
    with pytest.raises(UsageError) as caught:
        catalogue.scaffold("robot")
    assert str(caught.value).endswith(". ptb-scaffold-robot brings it (https://example.org/robot)")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no')", "its obstacles() raised ValueError: no"),
        ("return 'none'", "its obstacles() returned 'none'; expected sentences"),
        ("return ('no GPU',)", "no GPU"),
    ],
)
def test_whatever_a_sandbox_answers_about_a_plan_is_an_obstacle(install, tmp_path, body, reason):
    from ptb_core.plan import load_plan

    code = f"""
from ptb_core.api import Sandbox, SandboxSpec, hookimpl

class Odd(Sandbox):
    def open(self, request): raise NotImplementedError
    def attach(self, handle): raise NotImplementedError
    def obstacles(self, condition, limits, settings): {body}

@hookimpl
def ptb_register_sandboxes():
    spec = SandboxSpec(name="odd", description="D.", roles=("solve", "serve"),
                       network_policies=("open",), isolates_untrusted_code=False, gpus=False)
    return [Odd(spec)]
"""
    install("ptb-odd", {"my_plugin.py": code}, MINE)
    plan = {
        "name": "small",
        "tasks": ["errands"],
        "models": ["tiny-qwen3"],
        "agents": [{"name": "null", "scaffold": "null"}],
        "condition": {"hours": 0.5, "gpus": 0, "network": "open"},
        "sandbox": {"name": "odd"},
        "engine": {"name": "transformers"},
        "judges": [],
        "protocol": "strict",
    }
    (tmp_path / "small.json").write_text(json.dumps(plan), "utf-8")
    loaded = load_plan(tmp_path / "small.json", load_catalogue())
    assert loaded.obstacles == (f"sandbox odd of ptb-odd 1.0: {reason}",)
