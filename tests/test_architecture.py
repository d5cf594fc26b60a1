"""The seams: built-ins import the interface only, core names no plugin, loading stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptb_core.api
from ptb_core.catalogue import load_catalogue
from ptb_core.specs import KINDS

CORE = Path(ptb_core.__file__).parent
PLUGINS = CORE.parent / "plugins" / "ptb_plugins"

HEAVY = {
    "torch", "transformers", "datasets", "vllm", "lm_eval", "docker", "jsonschema", "numpy",
    "aiohttp", "safetensors", "rich", "peft", "gguf", "asyncio", "yaml",
}  # fmt: skip
"""What no start of `ptb list` may pay for."""

PLAIN_WORDS = {
    ("plan/read.py", "local"),  # the executor of plans that name none
    ("evaluation/job.py", "local"),  # the sandbox of evaluations that name none
    ("evaluation/job.py", "transformers"),  # likewise the engine
    ("lock.py", "transformers"),  # the distribution, whose version is recorded
    ("lock.py", "vllm"),  # likewise
    ("load_cost.py", "transformers"),  # the module, which is slow to import
    ("load_cost.py", "vllm"),  # likewise
    ("json_paths.py", "null"),  # the JSON value
}
"""Texts in core that equal a built-in's name and mean something else, or are a declared default."""


def modules(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if "_data" not in path.parts)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every string that is no docstring."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


def test_built_in_plugins_import_nothing_of_core_but_the_interface():
    wrong = [
        f"{path.relative_to(PLUGINS)} imports {name}"
        for path in modules(PLUGINS)
        for name in imported(tree(path))
        if name.split(".")[0] == "ptb_core" and name != "ptb_core.api"
    ]
    assert wrong == []


def test_built_in_plugins_take_no_private_name_from_the_interface():
    wrong = [
        f"{path.relative_to(PLUGINS)} takes {alias.name}"
        for path in modules(PLUGINS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module == "ptb_core.api"
        for alias in node.names
        if alias.name not in ptb_core.api.__all__
    ]
    assert wrong == []


def test_core_imports_no_plugin_and_mentions_their_package_nowhere():
    wrong = [
        str(path.relative_to(CORE))
        for path in modules(CORE)
        if any("ptb_plugins" in name for name in [*imported(tree(path)), *texts(tree(path))])
    ]
    assert wrong == []


def test_core_names_no_built_in_component():
    load_catalogue.cache_clear()
    names = {row.name for row in load_catalogue().rows() if row.distribution == "posttrainbench"}
    assert {"gsm8k", "qwen3-4b-base"} <= names
    found = {
        (path.relative_to(CORE).as_posix(), text)
        for path in modules(CORE)
        for text in texts(tree(path))
        if text in names
    }
    assert found - PLAIN_WORDS == set()


def test_the_list_of_plain_words_holds_nothing_that_is_gone():
    present = {
        (path.relative_to(CORE).as_posix(), text)
        for path in modules(CORE)
        for text in texts(tree(path))
    }
    assert PLAIN_WORDS - present == set()


def loaded_by(arguments: list[str], cache: Path) -> set[str]:
    program = (
        "import json, sys\nfrom ptb_core.cli.main import main\n"
        f"assert main({arguments!r}) == 0\n"
        "print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    environment = {"PTB_CACHE": str(cache), "PATH": "/usr/bin:/bin", "HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--json"], ["plugins"], ["show", "task", "gsm8k"], ["--help"]],
    ids=" ".join,
)
def test_a_warm_start_imports_nothing_heavy(tmp_path, arguments):
    loaded_by(["list"], tmp_path)
    assert loaded_by(arguments, tmp_path) & HEAVY == set()


def test_a_cold_start_checks_manifests_and_still_imports_nothing_else_that_is_heavy(tmp_path):
    loaded = loaded_by(["list"], tmp_path)
    assert "jsonschema" in loaded
    assert loaded & HEAVY <= {"jsonschema"}


def test_loading_every_built_in_imports_nothing_heavy():
    program = (
        "import json, sys\nfrom ptb_core.plugins import load_plugins\n"
        "loaded = load_plugins()\nassert not loaded.broken\n"
        "kinds = sorted({one.kind for one in loaded.contributions})\n"
        "print(json.dumps([kinds, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    kinds, names = json.loads(done.stdout.splitlines()[-1])
    assert kinds == sorted(KINDS)
    assert set(names) & HEAVY == set()
