"""How a protocol asks a checkpoint, and what a checkpoint's own files may say about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.evaluation.protocol import (
    PAPER_V1,
    PROTOCOLS,
    STRICT,
    EndTokens,
    declared_end_tokens,
    generate_options,
    seeded_generation_config,
    template_date,
    token_ids,
    tokenizer_source,
)
from ptb_core.evaluation.questions import GenerateOptions
from ptb_core.specs import FileSource, ModelSpec, ProtocolSpec, Sampling

MODEL = ModelSpec(
    name="m",
    title="The Model",
    description="",
    source=FileSource(packaged="x"),
    family="f",
    chat_template="c",
    turn_end_tokens=("<|im_end|>",),
    architectures=("A",),
    parameters=1,
    context_tokens=4096,
)


def checkpoint(path: Path, **files: Any) -> Path:
    """Write JSON files; ``config`` stands for ``config.json``."""
    path.mkdir(exist_ok=True)
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value), "utf-8")
    return path


def test_the_protocols_are_those_of_the_paper_and_the_mended_one() -> None:
    assert PROTOCOLS == {"paper-v1": PAPER_V1, "strict": STRICT}
    assert (PAPER_V1.requests, PAPER_V1.scoring) == ("published", "published")
    assert (STRICT.requests, STRICT.scoring) == ("seeded", "repaired")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, EndTokens(ids=(), texts=())),
        ({"config": {"eos_token_id": 3}}, EndTokens(ids=(3,), texts=())),
        (
            {"config": {"eos_token_id": 3}, "generation_config": {"eos_token_id": [5, 3, 5]}},
            EndTokens(ids=(5, 3), texts=()),
        ),
        ({"tokenizer_config": {"eos_token": "</s>"}}, EndTokens(ids=(), texts=("</s>",))),
        (
            {"tokenizer_config": {"eos_token": {"content": "</s>", "lstrip": False}}},
            EndTokens(ids=(), texts=("</s>",)),
        ),
        ({"tokenizer_config": {"eos_token": {"text": "</s>"}}}, EndTokens(ids=(), texts=())),
        ({"tokenizer_config": {"eos_token": ["</s>"]}}, EndTokens(ids=(), texts=())),
        ({"config": {"eos_token_id": True}}, EndTokens(ids=(), texts=())),
        (
            {"config": {"eos_token_id": [0, None, "7", 2.0, False, 1]}},
            EndTokens(ids=(0, 1), texts=()),
        ),
        ({"config": {"eos_token_id": None}, "tokenizer_config": []}, EndTokens(ids=(), texts=())),
        ({"config": [7], "generation_config": "7"}, EndTokens(ids=(), texts=())),
    ],
)
def test_end_tokens_are_what_the_checkpoints_files_declare(
    tmp_path: Path, files: dict[str, Any], expected: EndTokens
) -> None:
    assert declared_end_tokens(checkpoint(tmp_path / "c", **files)) == expected


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b""])
def test_damaged_files_declare_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "tokenizer_config.json").mkdir()
    assert declared_end_tokens(tmp_path) == EndTokens(ids=(), texts=())


def test_seeded_requests_keep_the_end_tokens_of_submission_and_base_and_nothing_else(
    tmp_path: Path,
) -> None:
    own = checkpoint(
        tmp_path / "own", generation_config={"eos_token_id": [9, 2], "temperature": 1.5}
    )
    base = checkpoint(tmp_path / "base", config={"eos_token_id": [2, 4]})
    assert seeded_generation_config(own, base) == {"eos_token_id": [9, 2, 4]}


@pytest.mark.parametrize(
    ("names", "source"),
    [
        ((), "base"),
        (("tokenizer.model",), "checkpoint"),
        (("tokenizer.json",), "checkpoint"),
        (("vocab.json", "merges.txt"), "checkpoint"),
        (("vocab.json", "tokenizer_config.json"), "base"),
    ],
)
def test_published_requests_use_the_submissions_tokenizer_if_it_has_a_whole_one(
    tmp_path: Path, names: tuple[str, ...], source: str
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert tokenizer_source(tmp_path, PAPER_V1) == source


def test_seeded_requests_never_use_the_submissions_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").touch()
    assert tokenizer_source(tmp_path, STRICT) == "base"


def test_templates_print_a_fixed_date_under_seeded_requests_only() -> None:
    assert template_date(STRICT) == "2026-01-01"
    assert template_date(PAPER_V1) is None


def options(protocol: ProtocolSpec, own: Path, base: Path, limit: int = 700) -> GenerateOptions:
    return generate_options(protocol, limit, MODEL, checkpoint=own, base_model=base)


def test_seeded_requests_stop_at_the_familys_and_the_submissions_end_tokens_by_their_ids(
    tmp_path: Path,
) -> None:
    own = checkpoint(tmp_path / "own", tokenizer_config={"eos_token": "</s>"})
    base = checkpoint(
        tmp_path / "base",
        tokenizer={
            "added_tokens": [{"content": "<|im_end|>", "id": 7}],
            "model": {"vocab": {"</s>": 2, "a": 3}},
        },
    )
    asked = options(STRICT, own, base)
    assert (asked.requests, asked.max_tokens) == ("seeded", 700)
    assert (asked.stop_token_ids, asked.stop) == ((7, 2), ())


def test_end_tokens_that_are_no_single_token_are_stop_strings(tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "own", tokenizer_config={"eos_token": "</s>"})
    asked = options(STRICT, own, tmp_path)
    assert (asked.stop_token_ids, asked.stop) == ((), ("<|im_end|>", "</s>"))
    same = checkpoint(tmp_path / "same", tokenizer_config={"eos_token": "<|im_end|>"})
    assert options(STRICT, same, tmp_path).stop == ("<|im_end|>",)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer": {"model": {"vocab": {"<e>": 4}}}}, {"<e>": 4}),
        ({"tokenizer": {"model": {"vocab": [["<u>", 0.0], ["<e>", -1.5]]}}}, {"<e>": 1}),
        ({"tokenizer": {"model": {"vocab": [[], [["l"], 0], ["<e>", -1.5]]}}}, {"<e>": 2}),
        ({"tokenizer": {"added_tokens": [{"content": ["<e>"], "id": 1}]}}, {}),
        ({"tokenizer": {"model": {"vocab": [[], "x", ["<e>", -1.5]]}}}, {"<e>": 2}),
        ({"added_tokens": {"<e>": 5}}, {"<e>": 5}),
        ({"tokenizer_config": {"added_tokens_decoder": {"6": {"content": "<e>"}}}}, {"<e>": 6}),
        (
            {
                "tokenizer": {
                    "model": {"vocab": {"<e>": 1}},
                    "added_tokens": [{"content": "<e>", "id": 9}],
                }
            },
            {"<e>": 9},
        ),
        ({"tokenizer": {"model": {"vocab": {"<e>": True}}}}, {}),
        ({"tokenizer": {"added_tokens": [{"content": "<e>", "id": "9"}, 3]}}, {}),
        ({"tokenizer": {"added_tokens": {"<e>": 3}, "model": []}}, {}),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "<e>"}, "1": 2}}}, {}),
        ({"tokenizer": [1], "tokenizer_config": [], "added_tokens": "<e>"}, {}),
        ({}, {}),
    ],
)
def test_a_tokens_id_stands_in_the_tokenizers_files(
    tmp_path: Path, files: dict[str, Any], expected: dict[str, int]
) -> None:
    assert token_ids(checkpoint(tmp_path / "t", **files), ("<e>", "<e>")) == expected


def test_published_requests_send_no_stop(tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "own", tokenizer_config={"eos_token": "</s>"})
    base = checkpoint(tmp_path / "base", added_tokens={"</s>": 1, "<|im_end|>": 2})
    asked = options(PAPER_V1, own, base)
    assert (asked.requests, asked.max_tokens) == ("published", 700)
    assert (asked.stop, asked.stop_token_ids) == ((), ())


def test_no_answer_may_be_longer_than_the_context(tmp_path: Path) -> None:
    assert options(PAPER_V1, tmp_path, tmp_path, limit=16000).max_tokens == 4096


def test_a_protocols_own_limit_and_sampling_win(tmp_path: Path) -> None:
    sampling = Sampling(seed=7, temperature=0.6, top_p=0.95, top_k=20)
    protocol = replace(STRICT, max_tokens=64, sampling=sampling)
    asked = options(protocol, tmp_path, tmp_path)
    assert (asked.max_tokens, asked.sampling) == (64, sampling)


@pytest.mark.parametrize("text", ["\ud800", "x" * 201])
def test_what_cannot_be_a_token_ends_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": text}), "utf-8")
    assert declared_end_tokens(tmp_path).texts == ()
