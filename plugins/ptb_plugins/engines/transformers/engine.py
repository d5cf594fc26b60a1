"""The engine's supervisor side: start the server in a session and wait until it is ready."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping

import msgspec

from ptb_core.api import (
    Command,
    Endpoint,
    Engine,
    JsonValue,
    ServeRequest,
    Session,
)
from ptb_plugins.engines.starting import OFFLINE, cause, wait_until_ready
from ptb_plugins.engines.transformers.config import ServerConfig

CONFIG_FILE = "engine-config.json"
SERVER = "transformers"
BATCHES_IN_FLIGHT = 2
"""One that the model works on and one that waits, so that it never idles."""


class TransformersEngine(Engine):
    """Serves a checkpoint with Hugging Face transformers; weights are data, never code."""

    def unusable_reason(self) -> str | None:
        """Name the packages that are missing."""
        missing = [p for p in ("torch", "transformers") if importlib.util.find_spec(p) is None]
        if not missing:
            return None
        return f"{' and '.join(missing)} not installed: pip install 'posttrainbench[evaluation]'"

    def serve(self, request: ServeRequest, session: Session) -> Endpoint:
        """Start the server and return when it is ready; see :meth:`Engine.serve`."""
        settings = {s.name: s.default for s in self.spec.settings} | dict(request.settings)
        host_socket, inside_socket = session.socket("engine")
        config = _server_config(request, settings, inside_socket)
        process = session.start(_command(config, session))
        try:
            wait_until_ready(
                session, process, host_socket, float(settings["startup_timeout_s"]), SERVER
            )
        except BaseException:
            session.stop(process)
            raise
        return Endpoint(
            socket=host_socket,
            process=process,
            model_name=config.model_name,
            batch_size=config.batch_size,
            max_in_flight=BATCHES_IN_FLIGHT * config.batch_size,
        )

    def why_ended(self, endpoint: Endpoint, session: Session) -> str:
        """Return the first error that the server wrote."""
        return cause(session.logs(endpoint.process, "stderr"))


def _server_config(
    request: ServeRequest, settings: Mapping[str, JsonValue], inside_socket: str
) -> ServerConfig:
    return ServerConfig(
        socket=inside_socket,
        model_name=request.model.name,
        checkpoint=request.checkpoint,
        tokenizer=request.tokenizer,
        generation_config=request.generation_config,
        chat_template=request.chat_template,
        max_context_tokens=request.max_context_tokens,
        tool_parser=request.model.tool_parser,
        dtype=settings["dtype"],
        device=settings["device"],
        batch_size=settings["batch_size"],
        threads=settings["threads"],
        template_date=settings["template_date"] or request.template_date,
        seed=settings["seed"],
    )


def _command(config: ServerConfig, session: Session) -> Command:
    """Return the server's command line; ``-P`` keeps the workspace off the import path."""
    python = "python3" if session.facts().isolation == "container" else sys.executable
    path = f"{session.inside('workspace')}/{CONFIG_FILE}"
    module = "ptb_plugins.engines.transformers.server"
    env = {**OFFLINE, "TRANSFORMERS_VERBOSITY": "error", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if config.threads is not None:
        env["OMP_NUM_THREADS"] = str(config.threads)
    return Command(
        argv=(python, "-P", "-m", module, "--config", path),
        env=env,
        files={CONFIG_FILE: msgspec.json.encode(config)},
    )
