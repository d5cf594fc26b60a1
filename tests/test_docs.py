"""What the documents say is true: hooks, commands, paths, exit codes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import ptb_core
from ptb_core import hookspecs, testing
from ptb_core.cli.main import COMMANDS
from ptb_core.hook_calls import HOOKS
from ptb_core.specs import KINDS

ROOT = Path(ptb_core.__file__).parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")

pytestmark = pytest.mark.skipif(
    not (ROOT / "CONTRIBUTING.md").exists(), reason="installed without the documents"
)


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def signature(name: str) -> str:
    """A hook's signature as one writes it: ``ptb_register_x() -> Iterable[X]``."""
    found = inspect.signature(getattr(hookspecs, name))
    return f"{name}{found}".replace("'", "")


@pytest.mark.parametrize("hook", HOOKS.values())
def test_every_hook_has_a_heading_with_its_true_signature(hook: str) -> None:
    assert f"\n### `{signature(hook)}`\n" in text("CONTRIBUTING.md")


def test_no_heading_names_a_hook_that_is_none() -> None:
    named = re.findall(r"^### `(ptb_\w+)", text("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert sorted(named) == sorted(HOOKS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_hook_names_its_schema_and_its_conformance_class(kind: str) -> None:
    section = text("CONTRIBUTING.md").split(f"### `{HOOKS[kind]}")[1].split("\n### ")[0]
    assert f"`schemas/{kind}.schema.json`" in section
    suite = f"{kind.title()}Conformance"
    assert f"`{suite}`" in section
    assert hasattr(testing, suite)


def test_the_readme_has_a_row_for_every_command_and_none_for_another() -> None:
    table = text("README.md").split("## Commands")[1].split("\n## ")[0]
    named = set(re.findall(r"`ptb ([a-z]+)", table))
    assert named == {name for name, entry in COMMANDS.items() if not entry.hidden}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_a_document_names_exists(name: str) -> None:
    named = set(re.findall(r"`ptb ([a-z]+)", text(name)))
    assert named - set(COMMANDS) == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_path_that_a_document_names_is_there(name: str) -> None:
    named = set(
        re.findall(
            r"`((?:ptb_core|plugins|schemas|registry|plans|embedded|examples|tests|docs|benchmarks)"
            r"/[\w./-]*)`",
            text(name),
        )
    )
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
