"""``ptb plugins``: every installed plugin, its state, what it brings, and where it failed."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib.metadata import version

import pytest

import ptb_core.catalogue
from ptb_core.cli.main import main
from ptb_core.plugins import load_plugins
from ptb_core.testing.installed import Site, temporary_site
from ptb_plugins.tasks import EVALUABLE

MODELS = """
from ptb_core.api import FileSource, ModelSpec, hookimpl

def model(name, **changes):
    facts = dict(
        name=name, title="A", description="A model.", source=FileSource(hub="a/b"), family="qwen",
        chat_template=__file__, turn_end_tokens=("<e>",), architectures=("A",), parameters=1,
        context_tokens=1,
    )
    return ModelSpec(**{**facts, **changes})

@hookimpl
def ptb_register_models():
    yield model("one")
"""
TASKS = "@hookimpl\ndef ptb_register_tasks():\n    raise ValueError('no')\n"

OURS = f"posttrainbench {version('posttrainbench')}"


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    """A site folder, and a clock that stands still."""
    frozen = functools.partial(load_plugins, clock=lambda: 0.0)
    monkeypatch.setattr(ptb_core.catalogue, "load_plugins", frozen)
    with temporary_site() as one:
        yield one


def printed(capsys, *arguments: str) -> list[str]:
    assert main(["plugins", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def lines_of(capsys, distribution: str) -> list[str]:
    """The table's line of a distribution and what stands below it, blanks collapsed."""
    lines = printed(capsys)
    index = next(i for i, line in enumerate(lines) if f" {distribution} " in line)
    below = [line for line in lines[index + 1 :] if line.startswith("    ")]
    return [" ".join(line.split()) for line in [lines[index], *below]]


def test_every_built_in_plugin_is_a_line_with_what_it_brings(site, capsys):
    lines = [" ".join(line.split()) for line in printed(capsys)]
    assert lines[0] == "plugin distribution state load s brings"
    assert f"builtin-judges {OURS} loaded 0.000 3 judges" in lines
    assert f"builtin-engines {OURS} loaded 0.000 2 engines" in lines
    assert len(lines) == 8


def test_a_plugin_with_a_failing_hook_is_partly_loaded(site, capsys):
    site.install("ptb-half", {"half.py": MODELS + TASKS}, {"half": "half"})
    assert lines_of(capsys, "ptb-half 1.0") == [
        "half ptb-half 1.0 partly loaded 0.000 1 model",
        "ptb_register_tasks raised ValueError: no",
    ]
    assert printed(capsys)[-1] == "`ptb plugins NAME --traceback` shows where a plugin failed."


def test_a_plugin_whose_components_are_all_faulty_is_not_loaded(site, capsys):
    code = MODELS.replace('model("one")', 'model("one", parameters=0)')
    site.install("ptb-bad", {"bad.py": code}, {"bad": "bad"})
    assert lines_of(capsys, "ptb-bad 1.0") == ["bad ptb-bad 1.0 not loaded 0.000 1 model"]


def test_a_plugin_that_cannot_be_imported_is_not_loaded_and_took_its_time(site, capsys):
    site.install("ptb-bad", {"bad.py": "1 / 0\n"}, {"bad": "bad"})
    assert lines_of(capsys, "ptb-bad 1.0") == [
        "bad ptb-bad 1.0 not loaded 0.000 nothing",
        "bad cannot be imported: ZeroDivisionError: division by zero",
    ]


def test_a_plugin_that_is_switched_off_is_not_imported(site, capsys, monkeypatch):
    site.install("ptb-bad", {"bad.py": "1 / 0\n"}, {"bad": "bad"})
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "PTB_bad")
    assert lines_of(capsys, "ptb-bad 1.0") == [
        "bad ptb-bad 1.0 switched off - nothing",
        "switched off by PTB_DISABLE_PLUGINS",
    ]


def test_a_note_stands_below_the_line_of_its_plugin(site, capsys):
    site.install("ptb-loud", {"loud.py": "print('hi')\n" + MODELS}, {"loud": "loud"})
    assert lines_of(capsys, "ptb-loud 1.0") == [
        "loud ptb-loud 1.0 loaded 0.000 1 model",
        "note: printed while it was loaded, and should not: 'hi'",
    ]


@pytest.mark.parametrize("name", ["half", "ptb-half", "PTB_Half"])
def test_one_plugin_is_shown_by_either_of_its_names(site, capsys, name):
    site.install("ptb-half", {"half.py": MODELS + TASKS}, {"half": "half"})
    assert printed(capsys, name) == [
        "plugin half",
        "  from     ptb-half 1.0",
        "  names    half",
        "  state    partly loaded",
        "  load s   0.000 (import 0.000, hook ptb_register_tasks 0.000, "
        "hook ptb_register_models 0.000)",
        "  brings",
        "    model one",
        "  not loaded: its tasks of ptb-half 1.0",
        "    ptb_register_tasks raised ValueError: no",
        "    (`ptb plugins half --traceback` shows where)",
    ]


def test_what_was_raised_is_shown_on_request_with_the_author_s_own_lines(site, capsys):
    site.install("ptb-bad", {"bad.py": "def fail():\n    return 1 / 0\nfail()\n"}, {"bad": "bad"})
    text = "\n".join(printed(capsys, "bad", "--traceback"))
    assert "    Traceback (most recent call last):" in text
    assert f'File "{site.folder}/bad.py", line 2, in fail' in text
    assert "    ZeroDivisionError: division by zero" in text


def test_a_component_that_cannot_be_used_is_shown_with_its_reason(site, capsys, monkeypatch):
    monkeypatch.delitem(EVALUABLE, "bfcl")
    lines = printed(capsys, "builtin-tasks")
    index = lines.index("    task bfcl: unusable")
    assert lines[index + 1] == f"      described only: its evaluation code is not part of {OURS}"


def test_a_distribution_shows_all_its_plugins(site, capsys):
    heads = [line for line in printed(capsys, "posttrainbench") if line.startswith("plugin ")]
    assert len(heads) == 7


def test_an_unknown_name_is_answered_with_the_nearest(site, capsys):
    assert main(["plugins", "builtin-engine"]) == 2
    assert capsys.readouterr().err == (
        "ptb: no installed plugin or distribution is called 'builtin-engine' (did you mean "
        "'builtin-engines'?); there are: builtin-engines, posttrainbench, builtin-executors, "
        "builtin-judges, builtin-models, builtin-sandboxes, builtin-scaffolds, builtin-tasks\n"
    )


def test_json_holds_everything_of_each_plugin(site, capsys):
    site.install("ptb-half", {"half.py": MODELS + TASKS}, {"half": "half"})
    assert main(["plugins", "half", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    (failure,) = report.pop("failures")
    assert failure.pop("traceback").endswith("ValueError: no\n")
    assert failure == {"what": "its tasks", "reason": "ptb_register_tasks raised ValueError: no"}
    assert report == {
        "name": "half",
        "distribution": "ptb-half",
        "version": "1.0",
        "value": "half",
        "state": "partly loaded",
        "load_s": 0.0,
        "steps": {
            "import": 0.0,
            "hook ptb_register_tasks": 0.0,
            "hook ptb_register_models": 0.0,
        },
        "brings": [{"kind": "model", "name": "one", "usable": True, "reason": ""}],
        "notes": [],
    }
