"""The engine ``double``: a real server in a real serve session, without a model.

Its answers follow from the bytes of the checkpoint alone (see ``server.py``), so another
checkpoint has another score, and a score says which checkpoint answered.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ptb_core.api import (
    Command,
    Endpoint,
    Engine,
    EngineError,
    EngineSpec,
    ServeRequest,
    Session,
    Setting,
    hookimpl,
)

SERVER = "engine_double_server.py"
CONFIG = "engine-double.json"
READY_WITHIN_S = 60.0

SPEC = EngineSpec(
    name="double",
    description="Answers from the bytes of the checkpoint; for tests of interruptions.",
    fixed_batches=True,
    settings=(
        Setting(
            name="batch_size", description="0 for no fixed batches.", type="integer", default=4
        ),
        Setting(name="batch_s", description="Seconds per batch.", type="number", default=0.25),
    ),
)


class EngineDouble(Engine):
    """Starts ``server.py`` in the session and waits until it answers."""

    def serve(self, request: ServeRequest, session: Session) -> Endpoint:
        settings = {s.name: s.default for s in self.spec.settings} | dict(request.settings)
        host_socket, inside_socket = session.socket("engine")
        config = {
            "socket": inside_socket,
            "checkpoint": request.checkpoint,
            "batch_s": settings["batch_s"],
        }
        process = session.start(
            Command(
                argv=(sys.executable, "-I", "-S", SERVER, CONFIG),
                files={
                    SERVER: Path(__file__).with_name("server.py").read_bytes(),
                    CONFIG: json.dumps(config).encode(),
                },
            )
        )
        until = time.monotonic() + READY_WITHIN_S
        while not _is_healthy(host_socket):
            if session.poll(process).state == "exited" or time.monotonic() > until:
                words = session.logs(process, "stderr")[-500:].decode("utf-8", "replace")
                raise EngineError(f"the engine double did not become ready: {words or 'no word'}")
            session.wait(process, 0.02)
        size = int(settings["batch_size"]) or None
        return Endpoint(
            socket=host_socket,
            process=process,
            model_name="double",
            batch_size=size,
            max_in_flight=2 * (size or 2),
        )


def _is_healthy(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(1024)
    except OSError:
        return False


@hookimpl
def ptb_register_engines() -> Iterable[Engine]:
    return [EngineDouble(SPEC)]
