"""The engine as the catalogue sees it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from ptb_plugins.engines import ptb_register_engines


def test_the_manifest_describes_an_engine_that_repeats_itself() -> None:
    engine, _ = ptb_register_engines()
    assert engine.spec.name == "transformers"
    assert (engine.spec.fixed_batches, engine.spec.log_probabilities) == (True, True)
    defaults = {setting.name: setting.default for setting in engine.spec.settings}
    assert defaults == {
        "dtype": "auto",
        "device": "auto",
        "batch_size": 16,
        "threads": None,
        "startup_timeout_s": 900,
        "template_date": None,
        "seed": 0,
    }


def test_missing_packages_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = ptb_register_engines()
    found = importlib.util.find_spec

    def without_torch(name: str, *more: Any) -> Any:
        return None if name == "torch" else found(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    assert engine.unusable_reason() == (
        "torch not installed: pip install 'posttrainbench[evaluation]'"
    )


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, ptb_plugins.engines as e; list(e.ptb_register_engines()); "
        "print([m for m in ('torch', 'transformers', 'aiohttp', 'lm_eval', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
