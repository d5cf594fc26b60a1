"""What `ptb new` writes, and when it writes nothing; installing it is tested under packaging."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.errors import UsageError
from ptb_core.manifests import FOLDERS
from ptb_core.new_distribution import NewDistribution, create
from ptb_core.plan import load_plan
from ptb_core.specs import KINDS, Kind

MANIFEST_ONLY: tuple[Kind, ...] = ("task", "model")
EVERY = [*((kind, False) for kind in KINDS), *((kind, True) for kind in MANIFEST_ONLY)]


def written(tmp_path: Path, kind: Kind, manifest_only: bool, name: str = "my-first") -> Path:
    new = NewDistribution(kind=kind, name=name, parent=tmp_path, manifest_only=manifest_only)
    return create(new, load_catalogue())


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Make a written distribution importable, with the metadata that pip would write."""
    known = set(sys.modules)
    load_catalogue.cache_clear()

    def add(folder: Path) -> None:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        info = folder / "src" / f"{project['name'].replace('-', '_')}-0.1.0.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(head)
        ((name, value),) = project["entry-points"]["ptb.v1"].items()
        (info / "entry_points.txt").write_text(f"[ptb.v1]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(str(folder / "src"))
        load_catalogue.cache_clear()

    yield add
    load_catalogue.cache_clear()
    for name in set(sys.modules) - known:
        if name.startswith("ptb_") and "my_first" in name:
            del sys.modules[name]


@pytest.mark.parametrize(("kind", "manifest_only"), EVERY)
def test_what_is_written_is_a_usable_component_and_its_plan_is_right(
    tmp_path, on_path, kind, manifest_only
):
    folder = written(tmp_path, kind, manifest_only)
    on_path(folder)
    catalogue = load_catalogue()
    row = catalogue.row(kind, "my-first")
    assert (row.usable, row.reason, row.distribution) == (True, "", f"ptb-{kind}-my-first")
    assert [note for note in catalogue.notes if "my-first" in note] == []
    plan = load_plan(folder / "plan.json", catalogue)
    used = {
        "task": plan.tasks,
        "model": plan.models,
        "scaffold": [agent.scaffold for agent in plan.agents],
        "judge": [judge.name for judge in plan.judges],
        "sandbox": [plan.sandbox.name],
        "engine": [plan.engine.name],
        "executor": [plan.executor.name],
    }
    assert list(used[kind]) == ["my-first"]


@pytest.mark.parametrize("kind", MANIFEST_ONLY)
def test_a_distribution_by_manifest_alone_holds_no_python_code(tmp_path, kind):
    folder = written(tmp_path, kind, manifest_only=True)
    assert list(folder.rglob("*.py")) == []
    assert (folder / f"src/ptb_{kind}_my_first/{FOLDERS[kind]}/my-first.json").is_file()


@pytest.mark.parametrize("name", ["my-first", "task", "7b-of-1.5"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_clean_under_its_own_ruff_settings(tmp_path, kind, name):
    folder = written(tmp_path, kind, manifest_only=False, name=name)
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_that_is_written_has_ten_lines_or_less(tmp_path, kind):
    folder = written(tmp_path, kind, manifest_only=False)
    text = (folder / "tests" / f"test_{kind}_my_first.py").read_text("utf-8")
    assert len(text.splitlines()) <= 10
    assert f"({kind.capitalize()}Conformance):" in text
    assert 'name = "my-first"' in text


def test_the_author_is_told_the_next_three_commands(tmp_path, capsys):
    assert main(["new", "task", "capitals", "--dir", str(tmp_path)]) == 0
    folder = tmp_path / "ptb-task-capitals"
    assert capsys.readouterr().out == (
        f"wrote {folder}; next:\n"
        f'  cd {folder} && pip install -e ".[dev]"\n'
        "  ptb check capitals\n"
        "  ptb run --plan plan.json\n"
    )


@pytest.mark.parametrize("name", ["My-Task", "a_b", "-a", "a--b", "", "a b", "é", "a" * 65])
def test_a_name_that_is_no_kebab_case_is_refused(tmp_path, capsys, name):
    assert main(["new", "task", "--dir", str(tmp_path), "--", name]) == 2
    assert capsys.readouterr().err == (
        f"ptb: {name!r} cannot be the name of a task: expected at most 64 characters, lower-case "
        "letters and digits in words joined by '-' or '.', such as my-first or tiny-1.5b\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(tmp_path):
    with pytest.raises(UsageError) as caught:
        written(tmp_path, "task", False, name="gsm8k")
    assert str(caught.value) == (
        "there is a task 'gsm8k' already, brought by posttrainbench 0.1.0, and two of one name "
        "disable each other; choose another name"
    )


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path):
    folder = tmp_path / "ptb-task-my-first"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UsageError) as caught:
        written(tmp_path, "task", False)
    assert str(caught.value) == (
        f"{folder} is there already and is left as it is; choose another name, or another folder "
        "with --dir"
    )
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="ptb-task-my-first cannot be made: Not a directory"):
        written(tmp_path / "file", "task", False)


def test_a_kind_that_needs_code_cannot_be_a_manifest_alone(tmp_path, capsys):
    arguments = ["new", "judge", "strict", "--manifest-only", "--dir", str(tmp_path)]
    assert main(arguments) == 2
    assert capsys.readouterr().err == (
        "ptb: --manifest-only: a judge needs code; only a task or a model can be described by a "
        "manifest alone\n"
    )


def test_the_manifest_of_a_name_with_a_version_keeps_its_dots(tmp_path):
    folder = written(tmp_path, "model", False, name="tiny-1.5b")
    assert folder.name == "ptb-model-tiny-1-5b"
    manifest = folder / "src" / "ptb_model_tiny_1_5b" / "tiny-1.5b.json"
    assert json.loads(manifest.read_text("utf-8"))["name"] == "tiny-1.5b"
