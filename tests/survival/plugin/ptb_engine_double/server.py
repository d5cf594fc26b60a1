"""The engine double's server: OpenAI chat form over a unix socket, standard library only.

A question about an errand holds two numbers, so the right answer can be computed. Whether it is
given depends on the checkpoint's digest and the question: about half the questions, another half
for every other checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"


def answer(digest: str, content: str) -> str:
    """Return the text that the checkpoint with this digest answers."""
    question = content.partition("\nEnd with a line")[0]
    asked = question.rpartition(".")[2]
    numbers = [int(number) for number in re.findall(r"\b\d+\b", question)]
    right = max(numbers) if "larger" in asked else min(numbers) if "smaller" in asked else None
    value = sum(numbers) if right is None else right
    knows = hashlib.sha256(f"{digest}:{question}".encode()).digest()[0] < 128
    return f"from {digest}\nANSWER: {value if knows else value + 1}"


class Batches:
    """One batch at a time, each answered whole; a request without a batch is one of its own."""

    def __init__(self, batch_s: float) -> None:
        self._batch_s = batch_s
        self._model = threading.Lock()
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], threading.Barrier] = {}

    def wait(self, batch: dict[str, Any] | None) -> None:
        if batch is None:
            self._work(self._batch_s / 4)
            return
        key = (batch["id"], batch["attempt"])
        with self._lock:
            barrier = self._open.setdefault(
                key, threading.Barrier(batch["size"], lambda: self._work(self._batch_s))
            )
        barrier.wait()

    def _work(self, seconds: float) -> None:
        with self._model:
            time.sleep(seconds)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._send(b"ok")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.batches.wait(body.get("ptb_batch"))
        text = answer(self.server.digest, body["messages"][-1]["content"])
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self._send(json.dumps({"choices": [choice], "usage": usage}).encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "core"

    def log_message(self, *_: object) -> None:
        return


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, config: dict[str, Any]) -> None:
        weights = Path(config["checkpoint"], WEIGHTS).read_bytes()
        self.digest = hashlib.sha256(weights).hexdigest()
        self.batches = Batches(config["batch_s"])
        super().__init__(config["socket"], Handler)


if __name__ == "__main__":
    Server(json.loads(Path(sys.argv[1]).read_bytes())).serve_forever()
