"""``ptb show``: the facts of one component, its settings, where it comes from, why not."""

from __future__ import annotations

import hashlib
import json

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.data import data_dir
from ptb_plugins.tasks import EVALUABLE


@pytest.fixture(autouse=True)
def fresh_catalogue():
    load_catalogue.cache_clear()
    yield
    load_catalogue.cache_clear()


@pytest.mark.parametrize("kind", ["task", "tasks"])
def test_the_facts_of_a_task_are_shown_field_by_field(capsys, kind):
    assert main(["show", kind, "gsm8k"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["task", "gsm8k"], ["usable"]]
    assert ["n_samples", "1319"] in lines
    assert ["hub", "openai/gsm8k"] in lines
    assert ["agents_may_train", "yes"] in lines


def test_provenance_names_distribution_manifest_and_digest(capsys):
    main(["show", "task", "gsm8k", "--json"])
    facts = json.loads(capsys.readouterr().out)
    manifest = data_dir() / "registry" / "tasks" / "gsm8k.json"
    assert facts["distribution"] == "posttrainbench"
    assert facts["manifest"] == str(manifest)
    assert facts["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert facts["spec"]["weight"] == 0.0935882347031865


def test_settings_are_shown_with_type_choices_and_default(capsys):
    main(["show", "engine", "transformers"])
    text = capsys.readouterr().out
    assert '  dtype (string; one of auto, float32, bfloat16; default "auto")\n' in text
    assert "      Number type of the weights; auto takes the checkpoint's own.\n" in text


def test_an_unusable_component_is_shown_with_its_reason(capsys, monkeypatch):
    monkeypatch.delitem(EVALUABLE, "aime2025")
    assert main(["show", "task", "aime2025"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "unusable:"
    assert lines[2].startswith("  described only: ")
    assert "n_samples         30" in lines


def test_an_unknown_name_is_answered_with_the_nearest(capsys):
    assert main(["show", "task", "gsm8"]) == 2
    assert capsys.readouterr().err.startswith(
        "ptb: there is no task 'gsm8' (did you mean 'gsm8k'?); the tasks are: aime2025, "
    )
