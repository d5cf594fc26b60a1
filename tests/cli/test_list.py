"""``ptb list``: text for people, JSON for machines, broken plugins with what to do."""

from __future__ import annotations

import functools
import json
from importlib.metadata import version

import pytest

import ptb_core.catalogue
from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.plugins import load_plugins
from ptb_plugins.tasks import EVALUABLE


@pytest.fixture(autouse=True)
def fresh_catalogue(monkeypatch):
    """Load anew, with a clock that stands: a busy machine adds no note about slow plugins."""
    frozen = functools.partial(load_plugins, clock=lambda: 0.0)
    monkeypatch.setattr(ptb_core.catalogue, "load_plugins", frozen)
    load_catalogue.cache_clear()
    yield
    load_catalogue.cache_clear()


def test_every_component_is_a_line_under_its_kind(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("tasks") < lines.index("models") < lines.index("scaffolds")
    gsm8k = next(line for line in lines if line.startswith("  gsm8k "))
    assert " ".join(gsm8k.split()) == "gsm8k usable Word problems of grade-school mathematics."


def test_an_unusable_component_is_followed_by_the_reason(capsys, monkeypatch):
    monkeypatch.delitem(EVALUABLE, "aime2025")
    main(["list", "tasks"])
    lines = capsys.readouterr().out.splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("  aime2025 "))
    assert lines[index].split()[1] == "unusable"
    assert lines[index + 1].strip().startswith("described only: its evaluation code is not part of")


def test_a_kind_narrows_the_list(capsys):
    main(["list", "models"])
    text = capsys.readouterr().out
    assert text.startswith("models\n")
    assert "gsm8k" not in text


def test_an_unknown_kind_is_a_usage_error_that_lists_the_kinds(capsys):
    assert main(["list", "model"]) == 2
    assert "'tasks', 'models', 'scaffolds', 'sandboxes'" in capsys.readouterr().err


def test_json_holds_the_same_rows_as_the_catalogue(capsys):
    main(["list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert set(listed[0]) == {
        "kind",
        "name",
        "description",
        "distribution",
        "version",
        "entry_point",
        "usable",
        "reason",
    }
    assert [row["name"] for row in listed] == [r.name for r in load_catalogue().rows()]


def test_a_plugin_that_is_switched_off_is_shown_last_with_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-engines")
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert "\nengines\n" not in text
    _, broken = text.split("plugins that are not loaded\n")
    assert (
        broken.splitlines()[0].split()
        == (
            "builtin-engines unusable the whole plugin "
            f"[posttrainbench {version('posttrainbench')}, entry point builtin-engines]"
        ).split()
    )
    assert "switched off by PTB_DISABLE_PLUGINS" in broken
    assert broken.endswith("`ptb plugins NAME --traceback` shows where a plugin failed.\n")


def test_notes_stand_at_the_end(capsys, monkeypatch):
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "nothing-like-it")
    main(["list", "models"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "note: PTB_DISABLE_PLUGINS names 'nothing-like-it', and no plugin or distribution is "
        "called so"
    )


def test_piped_output_has_no_colour(capsys):
    main(["list"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(("no_color", "styled"), [("", True), ("1", False)])
def test_a_terminal_gets_bold_headings_unless_no_color_is_set(monkeypatch, no_color, styled):
    import sys

    from ptb_core.cli.output import emphasised

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert ("\x1b[1m" in emphasised("tasks")) is styled


def test_a_narrowed_list_says_which_plugins_may_be_missing_from_it(install, capsys):
    install("ptb-broken", {"my_plugin.py": "1/0\n"}, "[ptb.v1]\nmine = my_plugin\n")
    note = (
        "note: not loaded, and perhaps missing above: ptb-broken 1.0 (entry point mine); "
        "`ptb plugins` says why"
    )
    assert main(["list", "scaffolds"]) == 0
    assert note in capsys.readouterr().out.splitlines()
    assert main(["list", "scaffolds", "--json"]) == 0
    assert note in capsys.readouterr().err.splitlines()
    assert main(["list"]) == 0
    assert note not in capsys.readouterr().out.splitlines()
