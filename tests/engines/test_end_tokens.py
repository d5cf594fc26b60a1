"""An honest ChatML fine-tune ends its answers where it should, however it declares the end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import Completion, DataDir, Endpoint, SandboxRequest
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.data import data_dir
from ptb_core.evaluation.engine_mounts import engine_mounts
from ptb_core.evaluation.generate import SampleRequests, generate
from ptb_core.evaluation.protocol import PROTOCOLS, generate_options
from ptb_core.evaluation.serving import Subject, lay_engine_files, serve_mounts, serve_request
from ptb_core.seal import seal_submission
from ptb_core.specs import ModelSpec, ProtocolSpec
from tests.scored import evaluate_both

EMBEDDED = data_dir() / "embedded"
BASE = EMBEDDED / "models" / "tiny-qwen3"
TURN_END = "<|im_end|>"
END_OF_TEXT_ID, TURN_END_ID = 0, 2
MAX_TOKENS = 32
ASKED = 16

ENGINES: dict[str, dict[str, Any]] = {
    "transformers": {"device": "cpu", "threads": 1},
    "vllm": {
        "gpu_memory_utilization": 0.3,
        "cpu_kv_cache_gib": 1,
        "enforce_eager": True,
        "startup_timeout_s": 300,
    },
}

FORMS = ("generation-config", "tokenizer", "config")
"""Where the submission says that ``<|im_end|>`` ends an answer; all else says nothing."""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def model(catalogue: Catalogue) -> ModelSpec:
    return catalogue.model("tiny-qwen3")


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory, model: ModelSpec) -> Path:
    """The base model after the demo agent's fine-tuning; its files declare no end token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EMBEDDED / "programs"))
        patch.setenv("PTB_BASE_MODEL", str(BASE))
        import finetune

        patch.setattr(finetune, "TEMPLATE", Path(model.chat_template))
        trained, tokenizer = finetune.load_base()
        rows = finetune.read_rows(EMBEDDED / "data" / "errands" / "train.jsonl")
        finetune.fine_tune(trained, tokenizer, rows, steps=100)
    folder = tmp_path_factory.mktemp("fine-tuned")
    trained.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    change(folder / "config.json", eos_token_id=None)
    change(folder / "tokenizer_config.json", eos_token=None)
    return folder


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None takes a key away."""
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    content |= values
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept), "utf-8")


def saved_as(form: str, fine_tuned: Path, workspace: Path) -> Path:
    """Return a workspace whose final_model declares its end token in one place."""
    folder = Path(shutil.copytree(fine_tuned, workspace / "final_model"))
    if form == "generation-config":
        change(folder / "generation_config.json", eos_token_id=[END_OF_TEXT_ID, TURN_END_ID])
    elif form == "tokenizer":
        change(folder / "tokenizer_config.json", eos_token=TURN_END)
        change(folder / "generation_config.json", eos_token_id=END_OF_TEXT_ID)
    elif form == "config":
        change(folder / "config.json", eos_token_id=TURN_END_ID)
    return workspace


@pytest.fixture(
    params=[
        pytest.param("transformers", marks=pytest.mark.slow),
        pytest.param("vllm", marks=pytest.mark.vllm),
    ]
)
def engine_name(request: pytest.FixtureRequest) -> str:
    if request.param == "vllm" and "PTB_TEST_VLLM_PYTHON" not in os.environ:
        pytest.skip("PTB_TEST_VLLM_PYTHON names no interpreter that has vLLM")
    return str(request.param)


@contextmanager
def served(
    engine_name: str,
    catalogue: Catalogue,
    checkpoint: Path,
    model: ModelSpec,
    protocol: ProtocolSpec,
    root: Path,
) -> Iterator[Endpoint]:
    """Serve a sealed checkpoint as the stage generate does."""
    engine, settings = catalogue.engine(engine_name), dict(ENGINES[engine_name])
    if engine_name == "vllm":
        settings["python"] = os.environ["PTB_TEST_VLLM_PYTHON"]
    subject = Subject(checkpoint=checkpoint, base_model=BASE, model=model)
    files = root / "engine"
    root.mkdir()
    lay_engine_files(files, subject)
    session = catalogue.sandbox("local").open(
        SandboxRequest(
            name=f"ends-{secrets.token_hex(4)}",
            role="serve",
            root=root / "sandbox",
            mounts=serve_mounts(subject, files, engine_mounts(engine, settings, None)),
        )
    )
    try:
        yield engine.serve(serve_request(subject, protocol, settings, session), session)
    finally:
        session.close()


def answers(
    engine_name: str,
    catalogue: Catalogue,
    checkpoint: Path,
    model: ModelSpec,
    protocol: ProtocolSpec,
    root: Path,
) -> tuple[list[Completion], float]:
    """Return the answers to the first errands under a protocol, and the score they get."""
    task = catalogue.task("errands")
    folder = EMBEDDED / "data" / "errands"
    data = DataDir(files={name: folder / f"{name}.jsonl" for name in ("test", "train")})
    samples = list(task.samples(data))[:ASKED]
    asked = [SampleRequests(id=s.id, requests=task.requests(s, protocol.requests)) for s in samples]
    options = generate_options(protocol, MAX_TOKENS, model, checkpoint=checkpoint, base_model=BASE)
    with served(engine_name, catalogue, checkpoint, model, protocol, root) as endpoint:
        result = generate(asked, endpoint, options, root / "log.jsonl")
    assert not result.missing
    evaluation = evaluate_both(task, samples, result.completions, counted=protocol.scoring)
    completions = [one for sample in samples for one in result.completions[sample.id]]
    return completions, evaluation.scores[protocol.scoring].value


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("form", FORMS)
def test_answers_end_at_the_end_token_that_the_submission_declares(
    engine_name: str,
    catalogue: Catalogue,
    model: ModelSpec,
    fine_tuned: Path,
    form: str,
    protocol: ProtocolSpec,
    tmp_path: Path,
) -> None:
    workspace = saved_as(form, fine_tuned, tmp_path / "workspace")
    sealed = seal_submission(workspace, tmp_path / "sealed", None, BASE, model)
    completions, score = answers(
        engine_name, catalogue, sealed.path, model, protocol, tmp_path / "serve"
    )
    assert {one.finish_reason for one in completions} == {"stop"}
    assert not any("<|" in (one.text or "") for one in completions)
    formed = [one for one in completions if (one.text or "").startswith("ANSWER: ")]
    assert len(formed) >= 0.7 * ASKED  # published answers are sampled at temperature 1
    assert score >= 0.4


def test_without_any_declared_end_seeded_answers_end_and_published_ones_run_on(
    engine_name: str, catalogue: Catalogue, model: ModelSpec, fine_tuned: Path, tmp_path: Path
) -> None:
    """Under published requests the turn's end is no end token: so it is in the published form."""
    workspace = saved_as("nowhere", fine_tuned, tmp_path / "workspace")
    sealed = seal_submission(workspace, tmp_path / "sealed", None, BASE, model)
    published, _ = answers(
        engine_name, catalogue, sealed.path, model, PROTOCOLS["paper-v1"], tmp_path / "p"
    )
    seeded, score = answers(
        engine_name, catalogue, sealed.path, model, PROTOCOLS["strict"], tmp_path / "s"
    )
    assert "length" in {one.finish_reason for one in published}
    assert {one.finish_reason for one in seeded} == {"stop"}
    assert score > 0.5


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_base_model_itself_is_asked_and_answered(
    engine_name: str,
    catalogue: Catalogue,
    model: ModelSpec,
    protocol: ProtocolSpec,
    tmp_path: Path,
) -> None:
    completions, score = answers(engine_name, catalogue, BASE, model, protocol, tmp_path / "serve")
    assert len(completions) == ASKED
    assert score == 0.0
