"""The same weights in every form that a model's manifest lists: sealed, served, judged alike."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_servers import http_post
from tiny_gemma import CONTEXT_TOKENS, build_multimodal, build_text_only

from ptb_core.api import Mount, SandboxRequest, ServeRequest, Verdict
from ptb_core.catalogue import load_catalogue
from ptb_core.seal import SealedSubmission, seal_submission
from ptb_core.specs import ModelSpec
from ptb_plugins.engines.transformers.engine import TransformersEngine
from ptb_plugins.sandboxes import ptb_register_sandboxes
from tests.judges.cases import Case

pytestmark = pytest.mark.slow

FORMS = ("as-published", "module-names", "text-only")


@pytest.fixture(scope="module")
def model() -> ModelSpec:
    return replace(load_catalogue().model("gemma-3-4b-pt"), context_tokens=CONTEXT_TOKENS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_multimodal(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def forms(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The base's own weights: with the hub's names, with the modules' names, without vision."""
    text_only = build_text_only(tmp_path_factory.mktemp("text-only"), base)
    renamed = tmp_path_factory.mktemp("renamed") / "checkpoint"
    rename(
        base,
        renamed,
        lambda name: f"model.{name.replace('language_model.model.', 'language_model.')}",
    )
    return {"as-published": base, "module-names": renamed, "text-only": text_only}


def rename(source: Path, target: Path, new_name: Callable[[str], str]) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    renamed = {new_name(name): tensor for name, tensor in tensors.items()}
    save_file(renamed, target / "model.safetensors", metadata={"format": "pt"})


def tuned(checkpoint: Path, target: Path, **config: Any) -> Path:
    """Copy a checkpoint with slightly moved weights, and other entries in its config.json."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, target)
    tensors = load_file(target / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    moved = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in tensors.items()
    }
    save_file(moved, target / "model.safetensors", metadata={"format": "pt"})
    content = json.loads((target / "config.json").read_text("utf-8"))
    (target / "config.json").write_text(json.dumps(content | config), "utf-8")
    return target


def sealed(workspace: Path, base: Path, model: ModelSpec) -> SealedSubmission:
    return seal_submission(workspace, workspace.parent / "sealed", None, base, model)


def verdict(root: Path, base: Path, submission: Path, model: ModelSpec) -> Verdict:
    (root / "base").symlink_to(base)
    case = Case(root=root, submission=submission, architectures=model.architectures)
    return case.judge("lineage")


def answer(
    engine: TransformersEngine, checkpoint: Path, model: ModelSpec, root: Path
) -> dict[str, Any]:
    """Serve a sealed checkpoint and return its greedy answer to one question."""
    (sandbox,) = ptb_register_sandboxes()
    session = sandbox.open(
        SandboxRequest(
            name=f"serve-{secrets.token_hex(4)}",
            role="serve",
            root=root,
            mounts=(
                Mount(name="checkpoint", source=checkpoint),
                Mount(name="chat_template", source=Path(model.chat_template)),
            ),
        )
    )
    inside = session.inside("checkpoint")
    request = ServeRequest(
        checkpoint=inside,
        tokenizer=inside,
        generation_config=inside,
        chat_template=session.inside("chat_template"),
        model=model,
        max_context_tokens=model.context_tokens,
        settings={"device": "cpu", "threads": 1, "dtype": "float32"},
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi. " * 9}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 24}
    try:
        endpoint = engine.serve(request, session)
        status, reply = http_post(endpoint.socket, "/v1/chat/completions", body)
    finally:
        session.close()
    assert status == 200, reply
    return {"choice": reply["choices"][0], "usage": reply["usage"]}


def test_every_form_is_sealed_served_and_judged_like_the_base(
    engine: TransformersEngine,
    model: ModelSpec,
    base: Path,
    forms: dict[str, Path],
    tmp_path: Path,
) -> None:
    answers = []
    for name in FORMS:
        workspace = tmp_path / name / "workspace"
        shutil.copytree(forms[name], workspace / "final_model")
        submission = sealed(workspace, base, model)
        assert submission.notes == ()
        found = verdict(tmp_path / name, base, submission.path, model)
        assert found.outcome == "clean", found
        assert found.facts["identical"] is True
        answers.append(answer(engine, submission.path, model, tmp_path / name / "serve"))
    assert answers[0]["usage"]["completion_tokens"] > 1
    assert answers[1:] == answers[:1] * 2


@pytest.mark.parametrize("form", FORMS)
def test_a_fine_tune_is_clean_in_every_form(
    model: ModelSpec, base: Path, forms: dict[str, Path], form: str, tmp_path: Path
) -> None:
    submission = tuned(forms[form], tmp_path / "tuned")
    found = verdict(tmp_path, base, submission, model)
    assert found.outcome == "clean", found
    assert found.facts["share_related"] == 1.0
    assert found.facts["identical"] is False


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_is_not_listed_is_noted_at_the_seal_and_flagged(
    model: ModelSpec, base: Path, forms: dict[str, Path], form: str, tmp_path: Path
) -> None:
    tuned(forms[form], tmp_path / "workspace" / "final_model", architectures=["Gemma2ForCausalLM"])
    submission = sealed(tmp_path / "workspace", base, model)
    (note,) = submission.notes
    assert note == (
        "config.json declares the architectures ['Gemma2ForCausalLM']; the base model's are "
        "Gemma3ForConditionalGeneration, Gemma3ForCausalLM"
    )
    (finding,) = verdict(tmp_path, base, submission.path, model).findings
    assert finding.violation == "architecture-changed"


def test_the_text_only_form_of_other_weights_is_flagged(
    model: ModelSpec, base: Path, forms: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(forms["text-only"], tmp_path / "other"))
    torch.manual_seed(9)
    tensors = load_file(other / "model.safetensors")
    drawn = {name: torch.randn_like(tensor) for name, tensor in tensors.items()}
    save_file(drawn, other / "model.safetensors", metadata={"format": "pt"})
    (finding,) = verdict(tmp_path, base, other, model).findings
    assert finding.violation == "other-base-model"


def test_an_adapter_of_the_text_only_form_is_merged_into_the_multimodal_base(
    model: ModelSpec, base: Path, forms: dict[str, Path], tmp_path: Path
) -> None:
    """The adapter's module names are the text-only form's, the base's weights have the hub's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    text = AutoModelForCausalLM.from_pretrained(forms["text-only"])
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    torch.manual_seed(3)
    adapted = get_peft_model(text, lora)
    adapted.save_pretrained(tmp_path / "workspace" / "final_model")
    merged = sealed(tmp_path / "workspace", base, model)
    assert merged.merged_adapter
    expected = adapted.merge_and_unload().state_dict()["model.layers.2.self_attn.q_proj.weight"]
    found = load_file(merged.path / "model.safetensors")
    name = "language_model.model.layers.2.self_attn.q_proj.weight"
    assert torch.allclose(found[name], expected, atol=1e-5)
    assert not torch.equal(found[name], load_file(base / "model.safetensors")[name])
