"""An evaluation whose process is killed continues where it stood."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from scripted_server import ScriptedServer, chat_reply

from ptb_core.api import ChatRequest
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.generate import GenerateOptions, SampleRequests, generate

N_SAMPLES = 200
N_BEFORE_THE_KILL = 180
IN_FLIGHT = 16
OPTIONS = GenerateOptions(requests="seeded", max_tokens=5)

CLIENT = """
import sys
from pathlib import Path
from scripted_server import endpoint
from test_killed_evaluation import IN_FLIGHT, OPTIONS, samples
from ptb_core.evaluation.generate import generate
server = endpoint(Path(sys.argv[1]), max_in_flight=IN_FLIGHT)
generate(samples(), server, OPTIONS, Path(sys.argv[2]))
"""


def samples() -> list[SampleRequests]:
    return [
        SampleRequests(
            id=str(number),
            requests=(ChatRequest(messages=({"role": "user", "content": str(number)},)),),
        )
        for number in range(N_SAMPLES)
    ]


def reply(_: str, body: dict[str, Any]) -> tuple[int, Any]:
    return 200, chat_reply(f"{body['messages'][0]['content']} {body['seed']}")


def test_an_evaluation_killed_at_90_percent_asks_only_for_the_rest(tmp_path: Path) -> None:
    log, n_asked = tmp_path / "log.jsonl", 0
    enough, killed = threading.Event(), threading.Event()

    def hang_after_a_while(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal n_asked
        n_asked += 1
        if n_asked > N_BEFORE_THE_KILL:
            enough.set()
            killed.wait(60)
        return reply(path, body)

    with ScriptedServer(hang_after_a_while) as server:
        arguments = [sys.executable, "-c", CLIENT, str(server.endpoint.socket), str(log)]
        client = subprocess.Popen(arguments, cwd=Path(__file__).parent)
        assert enough.wait(60)
        client.send_signal(signal.SIGKILL)
        client.wait()
        killed.set()
    kept = set(read_completions(log))
    assert N_BEFORE_THE_KILL - IN_FLIGHT <= len(kept) <= N_BEFORE_THE_KILL
    with ScriptedServer(reply) as server:
        resumed = generate(samples(), server.endpoint, OPTIONS, log)
        asked = [body["messages"][0]["content"] for body in server.bodies]
        assert sorted(asked) == sorted({sample.id for sample in samples()} - kept)
        whole = generate(samples(), server.endpoint, OPTIONS, tmp_path / "whole.jsonl")
    assert resumed.completions == whole.completions
    assert resumed.summary.resumed == len(kept)
