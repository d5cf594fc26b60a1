"""Distributions of JSON files without any Python code, and what is wrong with manifests."""

from __future__ import annotations

import hashlib
import json

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.errors import PluginError
from ptb_core.fetch import ensure_data

from .plugin_code import FACTS, MODEL, TASK, model


def test_a_model_is_a_manifest_and_a_template_file_without_any_code(install, site):
    files = {"my_facts/models/tiny.json": model(), "my_facts/models/tiny.jinja": "{{ messages }}"}
    install("ptb-facts", files, FACTS)
    spec = load_catalogue().model("tiny")
    assert spec.chat_template == str(site / "my_facts" / "models" / "tiny.jinja")
    assert spec.architectures == ("LlamaForCausalLM",)


def test_the_lock_names_the_manifest_by_its_digest(install, site):
    files = {"my_facts/models/tiny.json": model(), "my_facts/models/tiny.jinja": ""}
    install("ptb-facts", files, FACTS)
    digest = hashlib.sha256(model().encode()).hexdigest()
    assert load_catalogue().provenance("model", "tiny") == ("ptb-facts", "1.0", digest)


def test_a_task_without_code_and_without_lm_eval_is_described_only(install):
    install("ptb-facts", {"my_facts/tasks/riddles.json": json.dumps(TASK)}, FACTS)
    catalogue = load_catalogue()
    reason = "described only: its evaluation code is not part of ptb-facts 1.0"
    assert catalogue.row("task", "riddles").reason == reason
    assert catalogue.task_spec("riddles").n_samples == 3
    assert catalogue.get("task", "riddles", allow_unusable=True).spec.title == "Riddles"
    with pytest.raises(PluginError, match=reason):
        catalogue.task("riddles")


def test_every_fault_of_a_manifest_is_listed_at_once_and_the_others_load(install):
    broken = {**MODEL, "name": "other", "parameters": "many", "familly": "x"}
    files = {
        "my_facts/models/broken.json": json.dumps(broken),
        "my_facts/models/tiny.json": model(),
        "my_facts/models/tiny.jinja": "",
    }
    install("ptb-facts", files, FACTS)
    catalogue = load_catalogue()
    assert catalogue.model("tiny")
    reason = catalogue.row("model", "broken").reason
    assert "models/broken.json: 2 faults" in reason
    assert '$.parameters: found "many" (a string); expected an integer' in reason
    assert "$.familly: found unknown key 'familly'; expected one of" in reason
    assert "did you mean 'family'?" in reason


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ({}, "$.source: found none of them; expected exactly one of packaged, hub, wheel, url"),
        ({"wheel": "a==1"}, "$.source.path: found nothing; expected the file's path in the wheel"),
        ({"url": "https://a/b"}, "$.source.sha256: found nothing; expected the file's sha256"),
        ({"url": "http://a/b"}, "expected an address that begins with https://"),
    ],
)
def test_a_source_must_say_exactly_one_checkable_place(install, source, fault):
    files = {"my_facts/models/tiny.json": model(source=source), "my_facts/models/tiny.jinja": ""}
    install("ptb-facts", files, FACTS)
    assert fault in load_catalogue().row("model", "tiny").reason


def test_packaged_files_of_a_stranger_lie_below_the_folder_of_its_manifest(install, site):
    data = [{"name": "test", "source": {"packaged": "rows/test.jsonl"}}]
    files = {
        "my_facts/models/tiny.json": model(source={"packaged": "tiny"}),
        "my_facts/models/tiny.jinja": "",
        "my_facts/models/tiny/config.json": "{}",
        "my_facts/tasks/riddles.json": json.dumps({**TASK, "data": data}),
        "my_facts/tasks/rows/test.jsonl": '{"q": 1}\n',
    }
    install("ptb-facts", files, FACTS)
    catalogue = load_catalogue()
    assert catalogue.model("tiny").source.packaged == str(site / "my_facts/models/tiny")
    task = catalogue.task_spec("riddles")
    path = str(site / "my_facts/tasks/rows/test.jsonl")
    assert task.data[0].source.packaged == path
    found = ensure_data(task)
    assert found.file("test").read_text() == '{"q": 1}\n'
    digest = hashlib.sha256(b'{"q": 1}\n').hexdigest()
    assert found.revisions == {"test": f"sha256:{digest}"}


@pytest.mark.parametrize(
    ("packaged", "fault"),
    [
        ("../x", "$.source.packaged: found {root}/../x; expected a path below the manifest's "
                 "folder {root}"),
        ("/etc", "$.source.packaged: found /etc; expected a path below the manifest's folder "
                 "{root}"),
        ("tiny", "$.source.packaged: found {root}/tiny, which does not exist; expected a file or "
                 "folder beside the manifest"),
    ],
)  # fmt: skip
def test_a_packaged_file_that_cannot_be_used_is_named_with_its_whole_path(
    install, site, packaged, fault
):
    source = {"packaged": packaged}
    files = {"my_facts/models/tiny.json": model(source=source), "my_facts/models/tiny.jinja": ""}
    install("ptb-facts", files, FACTS)
    expected = fault.format(root=site / "my_facts" / "models")
    assert expected in load_catalogue().row("model", "tiny").reason


def test_a_pass_is_remembered_and_a_change_is_checked_again(install, site, monkeypatch):
    import ptb_core.schemas

    files = {"my_facts/models/tiny.json": model(), "my_facts/models/tiny.jinja": ""}
    install("ptb-facts", files, FACTS)
    load_catalogue()
    load_catalogue.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(ptb_core.schemas, "faults", lambda *_: pytest.fail("checked again"))
        assert load_catalogue().model("tiny")
    load_catalogue.cache_clear()
    (site / "my_facts" / "models" / "tiny.json").write_text(model(parameters=0))
    assert "$.parameters: found 0" in load_catalogue().row("model", "tiny").reason


def test_without_a_writable_cache_everything_still_loads(install, tmp_path, monkeypatch):
    blocker = tmp_path / "a-file"
    blocker.write_text("")
    monkeypatch.setenv("PTB_CACHE", str(blocker / "cache"))
    files = {"my_facts/models/tiny.json": model(), "my_facts/models/tiny.jinja": ""}
    install("ptb-facts", files, FACTS)
    assert load_catalogue().model("tiny")


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1, 2]", "\udcff"])
def test_a_damaged_cache_is_ignored(install, tmp_path, monkeypatch, content):
    monkeypatch.setenv("PTB_CACHE", str(tmp_path))
    damaged = tmp_path / "checked-manifests.json"
    damaged.write_bytes(content.encode("utf-8", "surrogateescape"))
    files = {"my_facts/models/tiny.json": model(), "my_facts/models/tiny.jinja": ""}
    install("ptb-facts", files, FACTS)
    assert load_catalogue().model("tiny")
    assert isinstance(json.loads(damaged.read_bytes()), list)


LM_EVAL_CONFIG = {
    "task": "riddles",
    "output_type": "generate_until",
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "exact_match"}],
}


@pytest.mark.parametrize("lm_eval", [{"config": LM_EVAL_CONFIG}, {"task": "gsm8k"}])
def test_a_task_with_an_lm_eval_configuration_is_a_task_without_importing_lm_eval(
    install, site, tmp_path, lm_eval
):
    import os
    import subprocess
    import sys

    files = {"my_facts/tasks/riddles.json": json.dumps({**TASK, "lm_eval": lm_eval})}
    install("ptb-facts", files, FACTS)
    program = (
        "import sys\nfrom ptb_core.catalogue import load_catalogue\n"
        "task = load_catalogue().get('task', 'riddles', allow_unusable=True)\n"
        "print(type(task).__name__, 'lm_eval' in sys.modules, 'torch' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PTB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"LmEvalTask False False\n"


def test_a_configuration_of_lm_eval_is_one_of_two_forms(install):
    both = {"task": "gsm8k", "config": {}}
    files = {"my_facts/tasks/riddles.json": json.dumps({**TASK, "lm_eval": both})}
    install("ptb-facts", files, FACTS)
    assert "$.lm_eval: found" in load_catalogue().row("task", "riddles").reason
    assert "expected at most 1 key" in load_catalogue().row("task", "riddles").reason
