"""Whether a submission was made from the given base model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ptb_core.api import data_dir
from tests.checkpoint_files import base_arrays, write_checkpoint, write_sharded
from tests.judges.cases import Case

JUDGE = "lineage"


def tuned(noise: float = 0.1, seed: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: array + noise * rng.normal(size=array.shape) for name, array in base_arrays().items()
    }


def submit(case: Case, arrays: dict[str, np.ndarray], **options: object) -> None:
    case.submission = write_checkpoint(case.root / "submission", arrays, **options)  # type: ignore[arg-type]


def test_the_untouched_base_is_clean_and_named(case: Case) -> None:
    submit(case, base_arrays())
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.facts["identical"] is True
    assert verdict.notes == ("the submission is the untouched base model",)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64"])
def test_a_fine_tuned_base_is_clean_in_any_precision(case: Case, dtype: str) -> None:
    submit(case, tuned(), dtype=dtype)
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.facts["identical"] is False
    assert verdict.facts["share_related"] == 1.0


def test_shards_are_compared_with_a_single_file(case: Case) -> None:
    case.submission = write_sharded(case.root / "submission", tuned())
    assert case.judge(JUDGE).outcome == "clean"


def test_other_weights_are_flagged_with_their_correlations(case: Case) -> None:
    submit(case, base_arrays(seed=77))
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "flagged"
    (finding,) = verdict.findings
    assert finding.violation == "other-base-model"
    assert finding.summary == (
        "100% of the base model's matrix parameters have no counterpart that correlates with them "
        "by 0.5 or more: these weights were not made from the given base model."
    )
    assert len(finding.citations) == 5
    assert finding.citations[0].path == "submission/model.safetensors"
    assert "correlation" in finding.citations[0].excerpt


def test_partly_replaced_weights_are_inconclusive(case: Case) -> None:
    arrays = {
        **tuned(),
        "model.embed_tokens.weight": base_arrays(seed=5)["model.embed_tokens.weight"],
    }
    submit(case, arrays)
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "inconclusive"
    assert verdict.notes[0].endswith("parts of the model were replaced")


def test_norms_alone_prove_nothing(case: Case) -> None:
    arrays = {**base_arrays(seed=77), "model.norm.weight": base_arrays()["model.norm.weight"]}
    submit(case, arrays)
    assert case.judge(JUDGE).outcome == "flagged"


def test_weights_that_are_all_equal_are_unrelated(case: Case) -> None:
    submit(case, {name: np.zeros_like(array) for name, array in base_arrays().items()})
    assert case.judge(JUDGE).outcome == "flagged"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_without_finite_numbers_are_told_as_such_and_are_nobodys(
    case: Case, value: float
) -> None:
    submit(case, {name: np.full_like(array, value) for name, array in base_arrays().items()})
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.notes == (
        "776 numbers in 6 tensors are NaN or infinite: model.embed_tokens.weight, "
        "model.norm.weight, model.layers.0.self_attn.q_proj.weight, "
        "model.layers.0.self_attn.o_proj.weight, model.layers.1.self_attn.q_proj.weight; a model "
        "with such weights answers at random at best, as after a training that diverged",
        "no matrix holds a finite number: nothing of any model is in it",
    )
    assert verdict.facts["numbers_not_finite"] == 776


def test_single_numbers_that_are_not_finite_do_not_hide_where_the_others_come_from(
    case: Case,
) -> None:
    mine, others = tuned(), base_arrays(seed=77)
    for arrays in (mine, others):
        for array in arrays.values():
            array.reshape(-1)[::7] = np.nan
    submit(case, mine)
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.facts["share_related"] == 1.0
    assert "tensors are NaN or infinite: model.embed_tokens.weight, " in verdict.notes[0]
    submit(case, others)
    (finding,) = case.judge(JUDGE).findings
    assert finding.violation == "other-base-model"


def test_without_finite_numbers_and_without_all_tensors_nothing_is_decided(case: Case) -> None:
    arrays = {name: np.full_like(array, np.nan) for name, array in base_arrays().items()}
    del arrays["model.layers.1.self_attn.q_proj.weight"]
    submit(case, arrays)
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "inconclusive"
    assert verdict.notes[0] == "no matrix could be compared with the base model's"


@pytest.mark.parametrize("rows", [-4, 6])
def test_another_vocabulary_size_is_allowed(case: Case, rows: int) -> None:
    arrays = tuned()
    embedding = arrays["model.embed_tokens.weight"]
    extra = np.zeros((max(rows, 0), embedding.shape[1]))
    arrays["model.embed_tokens.weight"] = np.concatenate([embedding[: 32 + min(rows, 0)], extra])
    submit(case, arrays, vocab_size=32 + rows)
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.notes[0].startswith("vocabulary resized: model.embed_tokens.weight [32, 8] -> ")


def test_untied_output_embeddings_are_compared_with_the_tied_ones(case: Case) -> None:
    arrays = tuned()
    submit(case, {**arrays, "lm_head.weight": arrays["model.embed_tokens.weight"] * 1.1})
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.facts["matrices_compared"] == 6


def test_names_of_other_library_versions_are_matched(case: Case) -> None:
    arrays = {name.replace("model.", "model.language_model."): a for name, a in tuned().items()}
    submit(case, arrays)
    assert case.judge(JUDGE).outcome == "clean"


def test_another_architecture_is_flagged(case: Case) -> None:
    submit(case, tuned(), architectures=["Qwen2ForCausalLM"])
    (finding,) = case.judge(JUDGE).findings
    assert finding.violation == "architecture-changed"
    assert finding.summary == (
        "config.json declares the architecture Qwen2ForCausalLM; the base model's are "
        "Qwen3ForCausalLM."
    )
    assert finding.citations[0].path == "submission/config.json"


def test_a_listed_equivalent_may_leave_whole_components_out(case: Case) -> None:
    vision = {"vision_tower.layers.0.weight": np.random.default_rng(3).normal(size=(64, 64))}
    write_checkpoint(case.base, {**base_arrays(), **vision})
    case.architectures = ("WithVision", "TextOnly")
    submit(case, tuned(), architectures=["TextOnly"])
    assert case.judge(JUDGE).outcome == "clean"
    submit(case, tuned(), architectures=["WithVision"])
    assert case.judge(JUDGE).outcome != "clean"


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_other_dimensions_in_the_config_are_flagged(case: Case, key: str) -> None:
    write_checkpoint(case.base, num_attention_heads=2)
    submit(case, tuned(), **{"num_attention_heads": 2, key: 1})
    (finding,) = case.judge(JUDGE).findings
    assert finding.violation == "architecture-changed"
    assert finding.summary.startswith(f"config.json says {key} is 1; the base model's is ")


def test_tensors_of_another_shape_are_flagged(case: Case) -> None:
    arrays = tuned()
    arrays["model.layers.0.self_attn.q_proj.weight"] = np.ones((4, 8))
    submit(case, arrays)
    (finding,) = case.judge(JUDGE).findings
    assert finding.violation == "architecture-changed"
    assert finding.citations[0].excerpt == "model.layers.0.self_attn.q_proj.weight [4, 8]"


def test_added_and_missing_layers_are_seen(case: Case) -> None:
    submit(case, {**tuned(), **base_arrays(layers=3)}, num_hidden_layers=3)
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "flagged"
    assert verdict.notes[0].startswith("the submission adds 2 tensors: model.layers.2.")


def test_a_quantised_submission_is_inconclusive(case: Case) -> None:
    submit(case, tuned(), quantization_config={"bits": 4})
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "inconclusive"
    assert verdict.notes == ("the weights are quantised: correlations are not comparable",)


def test_nothing_submitted_is_nothing_to_judge(case: Case) -> None:
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "clean"
    assert verdict.notes == ("there is no submission: no lineage to judge",)


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "base"])
def test_what_cannot_be_read_is_inconclusive(case: Case, broken: str) -> None:
    submit(case, tuned())
    folder = case.base if broken == "base" else case.root / "submission"
    (folder / ("model.safetensors" if broken == "base" else broken)).write_bytes(
        b"\x80junk junk junk"
    )
    verdict = case.judge(JUDGE)
    assert verdict.outcome == "inconclusive"
    assert verdict.notes[0].startswith("the weights could not be compared: ")


@pytest.mark.parametrize(
    "junk", [b"", b"[]", b"null", b'{"architectures": {"a": 1}}', b"\xff" * 99]
)
def test_any_config_gets_a_verdict(case: Case, junk: bytes) -> None:
    submit(case, tuned())
    (case.root / "submission/config.json").write_bytes(junk)
    assert case.judge(JUDGE).outcome in ("flagged", "inconclusive")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "outcome"), [("load_base", "clean"), ("load_untrained", "flagged")]
)
def test_the_shipped_base_fine_tuned_for_real_is_told_from_random_weights(
    case: Case, monkeypatch: pytest.MonkeyPatch, program: str, outcome: str
) -> None:
    pytest.importorskip("transformers")
    embedded = data_dir() / "embedded"
    base = embedded / "models" / "tiny-qwen3"
    monkeypatch.syspath_prepend(str(embedded / "programs"))
    monkeypatch.setenv("PTB_BASE_MODEL", str(base))
    monkeypatch.chdir(case.root)
    sys.modules.pop("finetune", None)
    import finetune

    monkeypatch.setattr(finetune, "TEMPLATE", embedded / "models" / "tiny-qwen3.jinja")
    monkeypatch.setattr(finetune, "RESULT", Path("submission"))
    model, tokenizer = getattr(finetune, program)()
    rows = finetune.read_rows(embedded / "data" / "errands" / "train.jsonl")
    finetune.fine_tune(model, tokenizer, rows, steps=60, learning_rate=4e-3)
    finetune.submit(model, tokenizer)
    for source in base.iterdir():
        (case.base / source.name).write_bytes(source.read_bytes())
    case.submission = case.root / "submission"
    verdict = case.judge(JUDGE)
    assert verdict.outcome == outcome
    margin = verdict.facts["lowest_correlation"] if outcome == "clean" else 1.0
    assert margin > 0.7
    assert outcome == "clean" or verdict.facts["median_correlation"] < 0.3
