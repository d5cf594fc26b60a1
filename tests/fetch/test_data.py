from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ptb_core.data import data_dir
from ptb_core.errors import DataError
from ptb_core.fetch import FetchContext, ensure_data, ensure_model
from ptb_core.manifests import load_manifest
from ptb_core.specs import DataFile, FileSource, ModelSpec, TaskSpec
from tests.fetch.test_hub import model


def task(*files: DataFile) -> TaskSpec:
    return TaskSpec(
        name="t",
        title="T",
        description="",
        metric="accuracy",
        n_samples=1,
        max_tokens=1,
        data=files,
    )


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


FILE = DataFile(name="test", source=FileSource(hub="org/set", path="x.jsonl"), columns=("q", "a"))


def test_data_comes_with_paths_and_revisions(context: FetchContext, mirror: Path) -> None:
    (mirror / "t-test.jsonl").write_text(json.dumps({"q": "1", "a": "2"}))
    data = ensure_data(task(FILE), mirror, offline=True)
    assert data.file("test").read_bytes() == (mirror / "t-test.jsonl").read_bytes()
    assert data.revisions["test"].startswith("sha256:")


def test_the_mirror_may_be_named_by_the_environment(
    context: FetchContext, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / "t-test.jsonl").write_text(json.dumps({"q": "1", "a": "2"}))
    monkeypatch.setenv("PTB_MIRROR", str(mirror))
    monkeypatch.setenv("PTB_OFFLINE", "1")
    found = ensure_data(task(FILE)).file("test")
    assert found.read_bytes() == (mirror / "t-test.jsonl").read_bytes()


def test_a_mirror_that_is_no_folder_is_refused(context: FetchContext, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is no folder; check --mirror or PTB_MIRROR"):
        ensure_data(task(FILE), tmp_path / "nowhere")


def test_drifted_columns_are_named(context: FetchContext, mirror: Path) -> None:
    (mirror / "t-test.jsonl").write_text(json.dumps({"q": "1", "b": "2"}))
    with pytest.raises(DataError, match=r"lacks the columns a; found q, b, expected q, a"):
        ensure_data(task(FILE), mirror, offline=True)


def test_an_empty_file_lacks_all_columns(context: FetchContext, mirror: Path) -> None:
    (mirror / "t-test.jsonl").write_text("")
    with pytest.raises(DataError, match=r"lacks the columns q, a; found no rows"):
        ensure_data(task(FILE), mirror, offline=True)


def test_the_shipped_errands_rows_need_no_network(context: FetchContext) -> None:
    spec = load_manifest(data_dir() / "registry" / "tasks" / "errands.json", TaskSpec)
    data = ensure_data(spec, offline=True)
    assert set(data.files) == {"test", "train"}


def test_a_model_folder_in_the_mirror_is_used_as_it_is(context: FetchContext, mirror: Path) -> None:
    folder = mirror / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    files = ensure_model(model(FileSource(hub="org/model")), mirror, offline=True)
    assert (files.path, files.origin) == (folder, f"mirror {folder}")
    assert files.revision.startswith("sha256:")


@pytest.mark.slow
def test_a_conversion_that_fails_says_why_and_leaves_nothing(
    context: FetchContext, mirror: Path
) -> None:
    pytest.importorskip("gguf")
    (mirror / "m.gguf").write_bytes(b"no model")
    digest = hashlib.sha256(b"no model").hexdigest()
    source = FileSource(wheel="w==1", path="f/m.gguf", sha256=digest, convert="gguf")
    with pytest.raises(DataError, match=r"model: .*m.gguf could not be converted: "):
        ensure_model(model(source), mirror, offline=True)
    assert list((context.root / "converted" / "model").iterdir()) == []


def test_an_unknown_conversion_is_named(context: FetchContext) -> None:
    source = FileSource(hub="org/model", convert="onnx")
    with pytest.raises(DataError, match="unknown conversion 'onnx'; known is gguf"):
        ensure_model(model(source), offline=True)


@pytest.mark.slow
@pytest.mark.network
def test_the_small_published_model_is_converted_and_answers(
    context: FetchContext,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = load_manifest(data_dir() / "registry" / "models" / "smollm2-135m.json", ModelSpec)
    files = ensure_model(spec)
    loaded = AutoModelForCausalLM.from_pretrained(files.path)
    assert loaded.dtype == torch.bfloat16
    assert type(loaded).__name__ == spec.architectures[0]
    assert loaded.num_parameters() == spec.parameters
    tokenizer = AutoTokenizer.from_pretrained(files.path)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    answer = loaded.generate(**ids, max_new_tokens=3, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])
    assert ensure_model(spec, offline=True) == files
