"""Every built-in keeps the promises of its kind, as third parties' components must."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import pytest

from ptb_core.data import data_dir
from ptb_core.evaluation.exchange import DataDir
from ptb_core.interfaces import Session
from ptb_core.testing import (
    EngineConformance,
    EvidenceCase,
    ExecutorConformance,
    JudgeConformance,
    ModelConformance,
    SandboxConformance,
    ScaffoldConformance,
    TaskConformance,
    honest_case,
)
from ptb_plugins.sandboxes.local.isolation import bwrap_failure
from tests.tasks.invented import (
    AIME_ROWS,
    BFCL_ROWS,
    GPQA_ROWS,
    aime_data,
    bfcl_data,
    gpqa_data,
)


def rows_like(rows: Sequence[dict[str, Any]], id_column: str, n: int) -> list[dict[str, Any]]:
    """Repeat rows until they are n, each with an id of its own."""
    return [{**rows[i % len(rows)], id_column: str(i)} for i in range(n)]


class TestErrands(TaskConformance):
    name = "errands"


class TestGsm8k(TaskConformance):
    name = "gsm8k"

    def data(self) -> DataDir:
        rows = Path(os.environ.get("PTB_TEST_DATA", "absent")) / "data"
        files = {name: rows / f"gsm8k-{name}.jsonl.gz" for name in ("test", "train")}
        if not all(path.is_file() for path in files.values()):
            raise SkipTest("PTB_TEST_DATA names no folder with the rows of gsm8k")
        return DataDir(files=files, prompts={"user": "Question: {prompt}\nAnswer it."})


class TestAime2025(TaskConformance):
    name = "aime2025"

    def data(self) -> DataDir:
        return aime_data(self.tmp, rows_like(AIME_ROWS, "id", self.component.spec.n_samples))


class TestGpqaMain(TaskConformance):
    name = "gpqamain"

    def data(self) -> DataDir:
        rows = rows_like(GPQA_ROWS, "Record ID", self.component.spec.n_samples)
        return gpqa_data(self.tmp, rows)


class TestBfcl(TaskConformance):
    name = "bfcl"

    def data(self) -> DataDir:
        return bfcl_data(self.tmp, rows_like(BFCL_ROWS, "id", self.component.spec.n_samples))


class TestHumanEval(TaskConformance):
    name = "humaneval"

    def data(self) -> DataDir:
        rows = Path(os.environ.get("PTB_TEST_DATA", "absent")) / "data" / "humaneval.jsonl.gz"
        if not rows.is_file():
            raise SkipTest("PTB_TEST_DATA names no folder with the rows of humaneval")
        return DataDir(files={"test": rows}, prompts={"user": "Complete it.\n"})


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

    def flagged_case(self) -> EvidenceCase:
        case = honest_case(self.tmp / "edited")
        case.put("evaluate.py", "print('accuracy 1.0')\n")
        return case


class TestLineage(JudgeConformance):
    name = "lineage"

    def flagged_case(self) -> EvidenceCase:
        case = honest_case(self.tmp / "other")
        assert case.submission is not None
        config = case.submission / "config.json"
        config.write_text(json.dumps(json.loads(config.read_bytes()) | {"num_hidden_layers": 1}))
        return case


class TestTestItems(JudgeConformance):
    name = "test-items"

    def flagged_case(self) -> EvidenceCase:
        case = honest_case(self.tmp / "contaminated")
        rows = [json.dumps({"text": item.text}) for item in case.test_items]
        case.put("data/mine.jsonl", "\n".join(rows))
        return case


class TestLocalExecutor(ExecutorConformance):
    name = "local"


@pytest.mark.slow
class TestTransformers(EngineConformance):
    name = "transformers"
    settings: ClassVar = {"device": "cpu", "threads": 1}


@pytest.mark.vllm
class TestVllm(EngineConformance):
    name = "vllm"
    settings: ClassVar = {
        "python": os.environ.get("PTB_TEST_VLLM_PYTHON"),
        "gpu_memory_utilization": 0.3,
        "cpu_kv_cache_gib": 1,
        "enforce_eager": True,
        "max_num_seqs": 16,
    }

    def skip_unless_usable(self) -> None:
        if not self.settings["python"]:
            raise SkipTest("PTB_TEST_VLLM_PYTHON names no interpreter that has vLLM")


class LocalConformance(SandboxConformance):
    name = "local"

    def lose(self, session: Session) -> None:
        control = Path(str(session.handle.data["control"]))
        os.kill(json.loads((control / "guardian.json").read_bytes())["pid"], signal.SIGKILL)


class TestLocalBare(LocalConformance):
    settings: ClassVar = {"isolation": "none"}


@pytest.mark.slow
class TestLocalBehindBubblewrap(LocalConformance):
    settings: ClassVar = {"isolation": "bwrap"}

    def skip_unless_usable(self) -> None:
        if (failure := bwrap_failure()) is not None:
            raise SkipTest(failure)


class TestArenaHardWriting(TaskConformance):
    name = "arenahardwriting"

    def data(self) -> DataDir:
        rows = real_rows()
        files = {
            "test": rows / "arena-hard-writing-question.jsonl.gz",
            "baseline": rows / "arena-hard-writing-baseline-qwen3-1.7b.jsonl.gz",
            "judge-prompt": data_dir() / "registry" / "prompts" / "arenahardwriting-judge.txt",
        }
        return DataDir(files=files)


class TestHealthBench(TaskConformance):
    name = "healthbench"
    value_range = (-4.0, 1.0)

    def data(self) -> DataDir:
        files = {"test": real_rows() / "healthbench-easy.jsonl.gz"}
        return DataDir(files=files, prompts={"grader": "<<conversation>> <<rubric_item>>"})


def real_rows() -> Path:
    """Return the folder of real data sets."""
    rows = Path(os.environ.get("PTB_TEST_DATA", "absent")) / "data"
    if not rows.is_dir():
        raise SkipTest("PTB_TEST_DATA names no folder with the rows of data sets")
    return rows
