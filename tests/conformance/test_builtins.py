"""Every built-in keeps the promises of its kind, as third parties' components must."""

from __future__ import annotations

from typing import ClassVar

import pytest

from ptb_core.testing import (
    EngineConformance,
    ExecutorConformance,
    JudgeConformance,
    ModelConformance,
    SandboxConformance,
    ScaffoldConformance,
    TaskConformance,
)


class TestErrands(TaskConformance):
    name = "errands"


class TestGsm8k(TaskConformance):
    name = "gsm8k"


class TestTinyQwen3(ModelConformance):
    name = "tiny-qwen3"


class TestNull(ScaffoldConformance):
    name = "null"
    recorded = (b"submitted the base model\n",)


class TestScript(ScaffoldConformance):
    name = "script"
    recorded = (b"step 1\r\nloss 2.3\n\xff\nTraceback (most recent call last):\n  boom",)


class TestHarness(JudgeConformance):
    name = "harness"


class TestLineage(JudgeConformance):
    name = "lineage"


class TestTestItems(JudgeConformance):
    name = "test-items"


class TestLocalExecutor(ExecutorConformance):
    name = "local"


@pytest.mark.slow
class TestTransformers(EngineConformance):
    name = "transformers"


class TestLocalBare(SandboxConformance):
    name = "local"
    settings: ClassVar = {"isolation": "none"}
