"""Starting a server in a session, and saying why when that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_servers import http_post, serve_request, serve_session, serving
from tiny_models import TEMPLATE, write_generation_config

from ptb_core.api import CheckpointError, Command, EngineError, ProcessHandle
from ptb_plugins.engines.transformers.engine import TransformersEngine

pytestmark = pytest.mark.slow


@pytest.fixture
def checkpoint(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "checkpoint"))


def refusal(
    engine: TransformersEngine, root: Path, checkpoint: Path, **changes: Any
) -> CheckpointError | EngineError:
    """Return why a checkpoint is not served, after seeing that no process is left."""
    with serve_session(root, checkpoint) as session:
        started: list[ProcessHandle] = []
        start = session.start

        def recorded(command: Command) -> ProcessHandle:
            started.append(start(command))
            return started[-1]

        session.start = recorded  # type: ignore[method-assign]
        with pytest.raises((CheckpointError, EngineError)) as caught:
            engine.serve(serve_request(session, **changes), session)
        assert [session.wait(process, 10).state for process in started] == ["exited"]
        return caught.value


def test_corrupted_safetensors_are_the_checkpoints_fault(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(b"\xff" * 64 + weights.read_bytes()[64:])
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert "the checkpoint cannot be served: the weights in " in str(error)
    assert "SafetensorError" in str(error)


def test_truncated_safetensors_are_the_checkpoints_fault(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert isinstance(refusal(engine, tmp_path / "s", checkpoint), CheckpointError)


def test_a_pickle_is_never_loaded(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert "holds no .safetensors file; found pytorch_model.bin, a pickle" in str(error)


def test_weights_that_lack_a_tensor_are_refused_instead_of_made_up(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert "lack 1 tensors: model.layers.1.mlp.up_proj.weight" in str(error)


def test_code_beside_the_weights_is_never_run(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "it-ran"
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
    }
    (checkpoint / "config.json").write_text(json.dumps(config), "utf-8")
    (checkpoint / "own.py").write_text(f"open({str(trap)!r}, 'w')", "utf-8")
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert not trap.exists()


def test_generation_settings_out_of_range_are_the_checkpoints_fault(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    write_generation_config(checkpoint, temperature="hot", top_p=2)
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert "temperature is 'hot', expected a number of at least 0" in str(error)
    assert "top_p is 2, expected a number in (0, 1]" in str(error)


def test_a_server_that_cannot_run_is_the_engines_fault(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    error = refusal(engine, tmp_path / "s", checkpoint, chat_template="/nowhere/template.jinja")
    assert isinstance(error, EngineError)
    assert "ended with status 1" in str(error)
    assert "/nowhere/template.jinja" in str(error)


def test_a_server_that_is_not_ready_in_time_is_stopped(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    error = refusal(
        engine, tmp_path / "s", checkpoint, settings={"startup_timeout_s": 0.01, "device": "cpu"}
    )
    assert isinstance(error, EngineError)
    assert "was not ready after 0.01 s" in str(error)
    assert "Raise the engine's setting startup_timeout_s" in str(error)


def test_published_defaults_and_caps_come_from_the_generation_config(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(checkpoint).convert_tokens_to_ids("<|im_end|>")
    write_generation_config(
        checkpoint, top_k=1, temperature=3.0, max_new_tokens=6, eos_token_id=[end]
    )
    chat = {"messages": [{"role": "user", "content": "What is 3 plus 4?"}], "max_tokens": 30}
    text = {"prompt": "1 plus 2 is 3\n", "max_tokens": 30}
    with serving(engine, tmp_path / "s", checkpoint) as server:
        socket = server.endpoint.socket
        _, answer = http_post(socket, "/v1/chat/completions", chat)
        _, again = http_post(socket, "/v1/chat/completions", {**chat, "temperature": 0})
        _, capped = http_post(socket, "/v1/completions", text)
    assert answer["choices"][0]["message"] == again["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert capped["usage"]["completion_tokens"] == 6


def test_the_template_prints_the_fixed_date(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    dated = "{{ strftime_now('%d %B %Y') }}\n" + TEMPLATE
    (checkpoint / "dated.jinja").write_text(dated, "utf-8")
    (checkpoint / "fixed.jinja").write_text("02 January 2024\n" + TEMPLATE, "utf-8")
    body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0, "max_tokens": 12}
    answers = []
    for template, date in (("dated.jinja", "2024-01-02"), ("fixed.jinja", None)):
        settings = {"device": "cpu", "threads": 1, "template_date": date}
        root = tmp_path / template
        with serving(engine, root, checkpoint, template=template, settings=settings) as server:
            _, reply = http_post(server.endpoint.socket, "/v1/chat/completions", body)
            answers.append((reply["usage"], reply["choices"][0]["message"]["content"]))
    assert answers[0] == answers[1]


def test_a_checkpoint_without_a_tokenizer_is_at_fault(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert "the checkpoint cannot be served: " in str(error)
    assert "holds no tokenizer: expected tokenizer.json, a .model file, or vocab.json" in str(error)


def test_a_tokenizer_that_makes_no_tokens_is_at_fault(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path
) -> None:
    data = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))
    data["model"] |= {"vocab": {}, "merges": []}
    data["added_tokens"] = []
    (checkpoint / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    error = refusal(engine, tmp_path / "s", checkpoint)
    assert isinstance(error, CheckpointError)
    assert "makes no tokens of the text 'warm up'" in str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_give_the_same_text_every_time(
    engine: TransformersEngine, checkpoint: Path, tmp_path: Path, value: float
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    filled = {name: torch.full_like(tensor, value) for name, tensor in tensors.items()}
    save_file(filled, checkpoint / "model.safetensors", metadata={"format": "pt"})
    chat = {"messages": [{"role": "user", "content": "What is 3 plus 4?"}], "max_tokens": 6}
    pair = {"prompt": "", "ptb_loglikelihood": {"context": "3 plus 4 is", "continuation": " 7"}}
    with serving(engine, tmp_path / "s", checkpoint) as server:
        socket = server.endpoint.socket
        for settings in ({"temperature": 0}, {"top_p": 0.9, "top_k": 5}, {}):
            body = {**chat, **settings}
            replies = [http_post(socket, "/v1/chat/completions", body) for _ in range(2)]
            assert [status for status, _ in replies] == [200, 200]
            one, two = (reply["choices"][0] for _, reply in replies)
            assert one == two
        status, scored = http_post(socket, "/v1/completions", pair)
    assert status == 200
    assert scored["choices"][0]["ptb_loglikelihood"] == {
        "log_probability": -1e30,
        "is_greedy": False,
    }
