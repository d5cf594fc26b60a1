from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.data import data_dir
from ptb_core.errors import DataError
from ptb_core.fetch import FetchContext, resolve_prompt
from ptb_core.fetch.prompts import text_of
from ptb_core.manifests import load_manifests
from ptb_core.specs import PromptText, TaskSpec
from tests.fetch.conftest import make_wheel

SOURCE = 'raise RuntimeError("imported")\nTEXT = """\nAnswer {prompt}.\n""".strip()\n'
WORDING = "Answer {prompt}."
PROMPT = PromptText(
    name="user",
    package="ptb-test-prompts",
    versions=("1.0", "0.9"),
    module="ptb_test_prompts.inner.texts",
    symbol="TEXT",
    sha256=hashlib.sha256(WORDING.encode()).hexdigest()[:10],
)
MEMBER = "ptb_test_prompts/inner/texts.py"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    module = folder / MEMBER
    module.parent.mkdir(parents=True)
    (module.parent.parent / "__init__.py").write_text('raise RuntimeError("imported")\n')
    module.write_text(source)
    facts = folder / "ptb_test_prompts-0.9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: ptb-test-prompts\nVersion: 0.9\n")
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('T = "a"', "a"),
        ('T: str = "a" "b"', "ab"),
        ('A = "a"\nT = A + " b"', "a b"),
        ('T = """\n a\n""".strip()', "a"),
        ('T = "  a ".lstrip()', "a "),
        ('import textwrap\nT = textwrap.dedent("  a\\n  b")', "a\nb"),
        ('from textwrap import dedent\nT = dedent(" a").rstrip()', "a"),
        ('T = "a"\nT = "b"', "b"),
        ('T = r"\\boxed"', "\\boxed"),
    ],
)
def test_plain_strings_are_read_from_the_syntax_tree(
    tmp_path: Path, source: str, text: str
) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    assert text_of(module, "T") == text


@pytest.mark.parametrize("source", ["T = f()", "T = 1", 'U = "a"', 'T = f"{x}"', 'T = "a".upper()'])
def test_what_is_no_plain_string_is_refused(tmp_path: Path, source: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    with pytest.raises(DataError, match=r"module.py assigns no plain string to T"):
        text_of(module, "T")


def test_a_module_that_is_no_python_is_named(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("T = ")
    with pytest.raises(DataError, match=r"module.py cannot be read as Python"):
        text_of(module, "T")


def test_a_wording_comes_from_the_installed_package_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: FetchContext
) -> None:
    install(tmp_path / "site", monkeypatch, SOURCE)
    assert resolve_prompt(PROMPT, offline=True) == (WORDING, "ptb-test-prompts==0.9")
    assert "ptb_test_prompts" not in sys.modules


@pytest.mark.parametrize("module", ["ptb_test_prompts.moved", "ptb_other_prompts.texts"])
def test_an_installed_version_that_has_the_wording_elsewhere_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: FetchContext, module: str
) -> None:
    install(tmp_path / "site", monkeypatch, SOURCE)
    moved = replace(PROMPT, module=module, other_modules=(PROMPT.module,))
    assert resolve_prompt(moved, offline=True) == (WORDING, "ptb-test-prompts==0.9")


def test_of_two_installed_modules_the_one_with_the_pinned_wording_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: FetchContext
) -> None:
    install(tmp_path / "site", monkeypatch, SOURCE)
    (tmp_path / "site/ptb_test_prompts/drifted.py").write_text('TEXT = "Drifted."\n')
    (tmp_path / "site/ptb_test_prompts/other.py").write_text("TEXT = 1\n")
    drifted, other = "ptb_test_prompts.drifted", "ptb_test_prompts.other"
    moved = replace(PROMPT, module=drifted, other_modules=(other, PROMPT.module))
    assert resolve_prompt(moved, offline=True) == (WORDING, "ptb-test-prompts==0.9")


def test_an_installed_wording_that_drifted_gives_way_to_the_pinned_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: FetchContext, index: Path
) -> None:
    install(tmp_path / "site", monkeypatch, 'TEXT = "Drifted."\n')
    make_wheel(index, "ptb-test-prompts", "1.0", {MEMBER: SOURCE})
    assert resolve_prompt(PROMPT) == (WORDING, "ptb-test-prompts==1.0")


def test_a_wording_from_the_wheel_is_cached(context: FetchContext, index: Path) -> None:
    wheel = make_wheel(index, "ptb-test-prompts", "1.0", {MEMBER: SOURCE})
    first = resolve_prompt(PROMPT)
    wheel.unlink()
    assert resolve_prompt(PROMPT, offline=True) == first == (WORDING, "ptb-test-prompts==1.0")


def test_a_cached_wording_that_was_changed_is_fetched_again(
    context: FetchContext, index: Path
) -> None:
    make_wheel(index, "ptb-test-prompts", "1.0", {MEMBER: SOURCE})
    resolve_prompt(PROMPT)
    (cached,) = (context.root / "prompts").iterdir()
    cached.write_text(cached.read_text().replace("Answer", "Guess"))
    assert resolve_prompt(PROMPT)[0] == WORDING


def test_a_pinned_wheel_that_drifted_is_refused_with_both_digests(
    context: FetchContext, index: Path
) -> None:
    make_wheel(index, "ptb-test-prompts", "1.0", {MEMBER: 'TEXT = "Drifted."\n'})
    found = hashlib.sha256(b"Drifted.").hexdigest()
    sentence = (
        rf"ptb_test_prompts.inner.texts.TEXT of ptb-test-prompts==1.0 has drifted: its sha256 is "
        rf"{found}, expected {PROMPT.sha256}.*install one of ptb-test-prompts 1.0, 0.9 unchanged"
    )
    with pytest.raises(DataError, match=sentence):
        resolve_prompt(PROMPT)


def test_offline_names_the_wheel_that_is_missing(context: FetchContext) -> None:
    with pytest.raises(DataError, match=r"the wheel ptb-test-prompts==1.0 is not in the cache"):
        resolve_prompt(PROMPT, offline=True)


@pytest.mark.network
def test_every_wording_of_the_registry_is_in_its_pinned_wheel(context: FetchContext) -> None:
    specs: list[TaskSpec] = load_manifests("tasks", TaskSpec, data_dir() / "registry")
    prompts = [prompt for spec in specs for prompt in spec.prompts]
    for prompt in prompts:
        text, _ = resolve_prompt(replace(prompt, package=prompt.package))
        assert hashlib.sha256(text.encode()).hexdigest() == prompt.sha256
    assert len(prompts) >= 5
