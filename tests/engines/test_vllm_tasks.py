"""All five exact tasks, from their samples to the score, on the real vLLM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from engine_servers import MODEL, Serving
from exact_cases import CASES, samples

from ptb_core.catalogue import load_catalogue
from ptb_core.evaluation.checking import Runners
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.evaluation.scoring import score_completions
from ptb_core.evaluation.serving import Subject, ask_everything, require_all
from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("protocol", ["paper-v1", "strict"])
def test_a_task_is_asked_and_scored(
    vllm_served: Serving, taught_model: Path, tmp_path: Path, name: str, protocol: str
) -> None:
    """Of two answers known by heart the first is right and the second wrong."""
    task, asked = samples(name, tmp_path)
    chosen = replace(PROTOCOLS[protocol], max_tokens=200)
    subject = Subject(
        checkpoint=taught_model,
        base_model=taught_model,
        model=replace(MODEL, context_tokens=4096),
    )
    log = tmp_path / "completions.jsonl"
    data = CASES[name].data(tmp_path)
    results = ask_everything(task, data, asked, subject, chosen, vllm_served.endpoint, log)
    require_all(results)
    runner = SandboxProgramRunner(
        ProgramSandbox(
            sandbox=load_catalogue().sandbox("local"),
            name=f"own-{name}",
            root=tmp_path / "programs",
        )
    )
    scored = score_completions(
        task,
        asked,
        chosen,
        log,
        Runners(programs=runner),
        tmp_path / "checks.jsonl",
        details={},
    )
    assert scored.evaluation.complete
    scores = scored.evaluation.scores
    assert {scoring: score.value for scoring, score in scores.items()} == {
        "published": 0.5,
        "repaired": 0.5,
    }, (tmp_path / "completions.jsonl").read_text("utf-8")
