"""``vllm serve`` without a model: it answers, or does what the checkpoint's ``fault.txt`` says.

Faults at the start: ``crash``, ``hang``, ``no-memory``, ``old`` (knows no ``--uds``). Faults
after FAULT_AFTER answers: ``die``, ``stop-answering``, ``flood`` (an endless answer), ``babble``
(a line of log without end), ``status-500``.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from importlib import metadata
from pathlib import Path

ARGUMENTS = sys.argv[1:]
FAULT_AFTER = 3
answers = 0
lock = threading.Lock()


def value(name: str) -> str:
    return ARGUMENTS[ARGUMENTS.index(name) + 1]


def fault() -> str:
    path = Path(ARGUMENTS[1], "fault.txt")
    return path.read_text().strip() if path.exists() else ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.reply(200, {})

    def do_POST(self) -> None:
        global answers
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            answers += 1
            number = answers
        if number > FAULT_AFTER and fault():
            self.misbehave(fault())
            return
        seen = {
            "arguments": ARGUMENTS,
            "environment": dict(os.environ),
            "version": metadata.version("vllm"),
            "template": Path(value("--chat-template")).read_text(),
        }
        text = json.dumps(seen) if "--echo" in ARGUMENTS else "It is 7."
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self.reply(
            200, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
        )

    def misbehave(self, kind: str) -> None:
        if kind == "die":
            print("RuntimeError: device-side assert triggered", file=sys.stderr, flush=True)
            os._exit(1)
        if kind == "stop-answering":
            time.sleep(3600)
        if kind == "babble":
            while True:
                os.write(2, b"x" * 65536)
        if kind == "flood":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        if kind == "status-500":
            self.reply(500, {"error": {"message": "EngineCore encountered an issue"}})

    def reply(self, status: int, content: dict[str, object]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    kind = fault()
    prefix = "(EngineCore pid=20) ERROR 11-28 11:37:50 [core.py:133] "
    if kind == "crash":
        print(f"{prefix}ValueError: weights were not initialized", file=sys.stderr)
        print(
            "RuntimeError: Engine core initialization failed. See root cause above.",
            file=sys.stderr,
        )
        sys.exit(1)
    if kind == "no-memory":
        print(
            f"{prefix}ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less "
            "than desired GPU memory utilization (0.9, 71.3 GiB).",
            file=sys.stderr,
        )
        sys.exit(1)
    if kind == "old":
        print("vllm: error: unrecognized arguments: --uds", file=sys.stderr)
        sys.exit(2)
    if kind == "hang":
        time.sleep(3600)
    print("INFO config: dtype=torch.bfloat16, device_config=cuda", file=sys.stderr, flush=True)
    with Server(value("--uds"), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
