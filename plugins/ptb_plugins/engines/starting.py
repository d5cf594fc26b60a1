"""Waiting for a server that has been started, and saying why it ended instead."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from ptb_core.api import CheckpointError, EngineError, ProcessHandle, Session
from ptb_plugins.engines.faults import CHECKPOINT_EXIT_CODE, FAULT_KEY

POLL_S = 0.1
LAST_WORDS_BYTES = 2000

OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment of every server. Waiting OpenMP threads sleep instead of spinning: measured on two
cores shared with other work, 64 answers took 7.6 s instead of 138 s."""


def wait_until_ready(
    session: Session,
    process: ProcessHandle,
    host_socket: Path,
    timeout_s: float,
    server: str,
    advice: Mapping[str, str] | None = None,
) -> None:
    """Return as soon as ``GET /health`` is answered with 200.

    Args:
        session: Where the server runs.
        process: The server.
        host_socket: Its socket on the host.
        timeout_s: Longest wait.
        server: What the messages call it.
        advice: What to do, by a regular expression that the server's last words match.

    Raises:
        CheckpointError: If the server says that it ended because of the checkpoint.
        EngineError: If it ended for another reason, or is not ready in time.
    """
    deadline = time.monotonic() + timeout_s
    while not _is_healthy(host_socket):
        status = session.poll(process)
        if status.state == "exited":
            stderr = session.logs(process, "stderr")
            raise _failure(server, stderr, status.exit_code, advice or {})
        if time.monotonic() > deadline:
            words = last_words(session.logs(process, "stderr"))
            raise EngineError(
                f"the {server} server was not ready after {timeout_s:g} s; its last words: "
                f"{words}. Raise the engine's setting startup_timeout_s if the model is large"
            )
        session.wait(process, POLL_S)


def last_words(stderr: bytes) -> str:
    """Return the end of what a server wrote."""
    return stderr[-LAST_WORDS_BYTES:].decode("utf-8", "replace").strip() or "(none)"


ERROR_LINE = re.compile(
    rb"(?:\([^)]*\) )?(?:ERROR \S+ \S+ \[[^\]]*\] )?([\w.]*(?:Error|Exception): .*)"
)
"""The end of a traceback, with or without what vLLM puts before each line of its log."""

LATER_ERRORS = (b"Engine core initialization failed", b"EngineDeadError", b"WorkerProc init")
"""What processes say only because another one has ended."""


def cause(stderr: bytes) -> str:
    """Return the first error in a server's log that is not said to follow from another."""
    for line in stderr.splitlines():
        found = ERROR_LINE.match(line)
        if found and not any(words in line for words in LATER_ERRORS):
            return found[1].decode("utf-8", "replace")[:LAST_WORDS_BYTES]
    return ""


def _is_healthy(host_socket: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(str(host_socket))
            connection.sendall(b"GET /health HTTP/1.0\r\nHost: engine\r\n\r\n")
            return b" 200 " in connection.recv(1024)
    except OSError:
        return False


def _failure(
    server: str, stderr: bytes, exit_code: int | None, advice: Mapping[str, str]
) -> CheckpointError | EngineError:
    reason = _fault(stderr)
    if exit_code == CHECKPOINT_EXIT_CODE and reason is not None:
        return CheckpointError(f"the checkpoint cannot be served: {reason}")
    words = reason or cause(stderr) or last_words(stderr)
    todo = [text for pattern, text in advice.items() if re.search(pattern, words)]
    after = f". {todo[0]}" if todo else ""
    return EngineError(f"the {server} server ended with status {exit_code}: {words}{after}")


def _fault(stderr: bytes) -> str | None:
    """Return the reason that the server itself gave, if any."""
    for line in reversed(stderr.splitlines()):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and FAULT_KEY in content:
            return str(content[FAULT_KEY])
    return None
