"""Engines that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ptb_core.api import Command, Endpoint, Engine, EngineSpec
from ptb_core.testing import EngineConformance
from tests.testing.running import broken, checked

SERVER = """
import http.server, itertools, json, os, socketserver, sys
path, fault = sys.argv[1:]
count = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return ""
    def log_message(self, *words): pass
    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def do_GET(self): self.answer(503 if fault == "sick" else 200, {})
    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if "chat" not in self.path: return self.answer(404, {})
        try:
            asked = json.loads(content)
            assert isinstance(asked["messages"], list) and asked["max_tokens"] > 0
        except Exception:
            return self.answer(500 if fault == "crashing" else 400, {"error": "bad request"})
        if len(content) > 2000 and fault != "boundless":
            return self.answer(400, {"error": "too long"})
        text = str(next(count)) if fault == "varying" else "five"
        text += "<|im_end|>" if fault == "endless" else ""
        cut = asked["max_tokens"] == 1 and fault != "generous"
        message = {"role": "user" if fault == "confused" else "assistant", "content": text}
        choice = {"message": message, "finish_reason": "length" if cut else "stop"}
        usage = {} if fault == "uncounted" else {"prompt_tokens": 9, "completion_tokens": 1}
        self.answer(200, {"choices": [choice], "usage": usage})
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): daemon_threads = True
Server(path, Handler).serve_forever()
"""


def listens(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
    except OSError:
        return False
    return True


class Scripted(Engine):
    """Answers by a script; right but for one fault."""

    fault = "none"

    def obstacles(self, settings):
        return ("no GPU",) if self.fault == "hindered" else ()

    def host_folders(self, settings):
        return ("somewhere",) if self.fault == "nowhere" else (Path("/usr"),)

    def serve(self, request, session):
        host, inside = session.socket("engine")
        process = session.start(
            Command(argv=("python3", "-I", "-S", "-c", SERVER, inside, self.fault))
        )
        while not listens(host):
            assert session.wait(process, 0.01).state == "running"
        return Endpoint(socket=host, process=process, model_name="scripted")


SPEC = EngineSpec(name="scripted", description="Answers by a script.")

CASES = {
    "hindered": (
        "test_what_it_needs_of_this_machine_is_told",
        "obstacles() must return () where the engine is checked; it returned ('no GPU',)",
    ),
    "nowhere": (
        "test_what_it_needs_of_this_machine_is_told",
        "host_folders() must return absolute paths of folders; it returned 'somewhere'",
    ),
    "sick": (
        "test_the_server_is_ready_when_serve_returns",
        "/health must answer 200 once serve() returned; it answers 503",
    ),
    "confused": (
        "test_a_chat_completion_has_the_known_form",
        "a choice must have a message of the role 'assistant'; it has ",
    ),
    "uncounted": (
        "test_usage_is_counted",
        "usage must count the tokens of prompt and answer; it says (None, None)",
    ),
    "varying": (
        "test_greedy_answers_repeat",
        "greedy answers must repeat; they were '0' and '1'",
    ),
    "generous": (
        "test_max_tokens_cuts_an_answer",
        "an answer cut at 1 token must end with 'length', not 'stop'",
    ),
    "endless": (
        "test_a_turn_end_token_ends_an_answer",
        "an answer must not hold its end token; it is 'five<|im_end|>'",
    ),
    "crashing": (
        "test_a_bad_request_is_refused_and_harms_nothing",
        "a body that is empty must be refused with 400 to 499; it got 500",
    ),
    "boundless": (
        "test_a_prompt_that_is_too_long_is_refused_with_400",
        "a prompt over the context must get status 400; it got 200",
    ),
}


@pytest.mark.parametrize("fault", CASES)
def test_a_wrong_engine_fails_with_a_sentence(fault: str) -> None:
    method, sentence = CASES[fault]
    engine = type("Wrong", (Scripted,), {"fault": fault})(SPEC)
    assert broken(EngineConformance, engine, method).startswith(sentence)


@pytest.mark.parametrize("method", [method for method, _ in CASES.values()])
def test_a_right_engine_passes_the_same_checks(method: str) -> None:
    checked(EngineConformance, Scripted(SPEC), method)


def test_an_engine_that_serves_anything_fails() -> None:
    sentence = broken(
        EngineConformance,
        Scripted(SPEC),
        "test_a_broken_checkpoint_is_the_checkpoints_fault",
    )
    assert sentence.startswith(
        "serve() of a checkpoint with broken weights must raise CheckpointError; it returned "
    )
