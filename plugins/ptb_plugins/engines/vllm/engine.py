"""The engine's supervisor side: start ``vllm serve`` in a session and wait until it is ready."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from ptb_core.api import (
    Command,
    Endpoint,
    Engine,
    EngineError,
    JsonValue,
    ProcessHandle,
    ServeRequest,
    Session,
)
from ptb_plugins.engines.starting import OFFLINE, cause, wait_until_ready
from ptb_plugins.engines.vllm.launcher import FACTS_KEY, LaunchConfig

SERVER = "vLLM"
CONFIG_FILE = "launch.json"
SOURCE_ROOT = Path(__file__).parents[3]
SOURCES = ("faults.py", "generation_config.py", "weights.py", "vllm/dated_template.py")
LAUNCHER = "vllm/launcher.py"
SOURCE_FOLDER = PurePosixPath("ptb_plugins/engines")

SYSTEM_FOLDERS = frozenset(map(Path, ("/", "/usr", "/usr/local")))
"""Where interpreters lie that every sandbox shows."""

ADVICE: Mapping[str, str] = {
    r"unrecognized arguments|invalid choice": (
        "This version of vLLM does not know that argument; install another version or change the "
        "engine's setting arguments"
    ),
    r"emory": (
        "Free memory on the device, or lower the engine's settings gpu_memory_utilization, "
        "max_num_seqs or (on a CPU) cpu_kv_cache_gib"
    ),
    r"No CUDA|CUDA driver|device type|NVML": (
        "vLLM finds no device it was built for; hand in a GPU ($.condition.gpus) or take vLLM's "
        "build for CPUs"
    ),
    r"No module named|cannot import|undefined symbol|operator \S+ does not exist": (
        "The installation of vLLM is broken; install it anew into an environment of its own"
    ),
}
"""What to do, by what the server's last words hold."""

OWN_ARGUMENTS = frozenset(
    (
        "--uds",
        "--host",
        "--port",
        "--model",
        "--tokenizer",
        "--served-model-name",
        "--chat-template",
        "--chat-template-content-format",
        "--default-chat-template-kwargs",
        "--trust-request-chat-template",
        "--generation-config",
        "--override-generation-config",
        "--max-model-len",
        "--max-num-seqs",
        "--gpu-memory-utilization",
        "--dtype",
        "--seed",
        "--load-format",
        "--enforce-eager",
        "--tool-call-parser",
        "--enable-auto-tool-choice",
        "--trust-remote-code",
        "--config",
    )
)
"""Arguments that a plan must not give: other settings decide them, or nothing may."""

DEVICE = re.compile(rb"device_config=(\w+)")
DTYPE = re.compile(rb"dtype=torch\.(\w+)")


class VllmEngine(Engine):
    """Serves a checkpoint with ``vllm serve``; weights are data, never code."""

    def obstacles(self, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
        """Say whether the settings make sense, and the interpreter is there and holds vLLM."""
        missing = _missing_vllm(settings.get("python"))
        faults = setting_faults(settings)
        return (*faults, missing) if missing is not None else faults

    def host_folders(self, settings: Mapping[str, JsonValue]) -> tuple[Path, ...]:
        """Return the environment of the interpreter, and what that is built on."""
        python = settings.get("python")
        if python is None:
            return ()
        environment = Path(str(python)).parent.parent
        base = Path(str(python)).resolve().parent.parent
        folders = dict.fromkeys((environment, base))
        return tuple(f for f in folders if f.is_dir() and f.resolve() not in SYSTEM_FOLDERS)

    def serve(self, request: ServeRequest, session: Session) -> Endpoint:
        """Start the server and return when it is ready; see :meth:`Engine.serve`."""
        settings = {s.name: s.default for s in self.spec.settings} | dict(request.settings)
        host_socket, inside_socket = session.socket("engine")
        process = session.start(_command(request, settings, session, inside_socket))
        try:
            timeout_s = float(settings["startup_timeout_s"])
            wait_until_ready(session, process, host_socket, timeout_s, SERVER, ADVICE)
        except BaseException:
            session.stop(process)
            raise
        return Endpoint(
            socket=host_socket,
            process=process,
            model_name=request.model.name,
            max_in_flight=settings["max_num_seqs"],
            facts=_facts(session, process),
        )

    def why_ended(self, endpoint: Endpoint, session: Session) -> str:
        """Return the first error that the server wrote."""
        return cause(session.logs(endpoint.process, "stderr"))


def serve_arguments(
    request: ServeRequest, settings: Mapping[str, JsonValue], socket: str
) -> list[str]:
    """Return the arguments of ``vllm serve``, but for the chat template.

    Args:
        request: What to serve.
        settings: The engine's, defaults filled in.
        socket: Inside path of the unix socket.

    Raises:
        EngineError: If a setting makes no sense.
    """
    faults = setting_faults(settings)
    if faults:
        raise EngineError("; ".join(faults))
    arguments = [
        request.checkpoint,
        *("--uds", socket),
        *("--served-model-name", request.model.name),
        *("--tokenizer", request.tokenizer),
        *("--generation-config", request.generation_config or "vllm"),
        *("--chat-template-content-format", "string"),
        *("--max-model-len", str(request.max_context_tokens)),
        *("--max-num-seqs", str(settings["max_num_seqs"])),
        *("--gpu-memory-utilization", str(settings["gpu_memory_utilization"])),
        *("--dtype", str(settings["dtype"])),
        *("--seed", str(settings["seed"])),
        *("--load-format", "safetensors"),
        "--disable-log-stats",
        "--disable-uvicorn-access-log",
    ]
    if request.model.tool_parser is not None:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", request.model.tool_parser]
    if settings["enforce_eager"]:
        arguments.append("--enforce-eager")
    return [*arguments, *map(str, settings["arguments"] or ())]


def setting_faults(settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return what is wrong with the engine's settings, one sentence each."""
    faults = []
    python = settings.get("python")
    if python is not None and not str(python).startswith("/"):
        faults.append(f"python is {python!r}, expected an absolute path")
    fraction = settings.get("gpu_memory_utilization", 0.9)
    if not 0 < fraction <= 1:
        faults.append(f"gpu_memory_utilization is {fraction}, expected above 0 and at most 1")
    for name in ("max_num_seqs", "cpu_kv_cache_gib"):
        number = settings.get(name)
        if number is not None and number < 1:
            faults.append(f"{name} is {number}, expected 1 or more")
    given = [str(argument) for argument in settings.get("arguments") or ()]
    names = [argument.split("=")[0].replace("_", "-") for argument in given]
    taken = [name for name in names if name in OWN_ARGUMENTS]
    if taken:
        faults.append(
            f"arguments holds {', '.join(taken)}, which other settings or the protocol decide; "
            "leave that out"
        )
    return tuple(f"the engine's setting {fault}" for fault in faults)


def _missing_vllm(python: JsonValue) -> str | None:
    """Return why an interpreter has no vLLM, or None; None stands for the running one."""
    if python is None:
        if importlib.util.find_spec("vllm") is not None:
            return None
        return (
            f"{sys.executable} has no vLLM: pip install 'posttrainbench[vllm]', or name the "
            "interpreter that has it in the engine's setting python"
        )
    program = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is None)"
    try:
        argv = [str(python), "-c", program]
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the engine's setting python names {python}, which cannot be run: {error}"
    if done.returncode == 0:
        return None
    return f"the engine's setting python names {python}, which has no vLLM: install it there"


def _command(
    request: ServeRequest, settings: Mapping[str, JsonValue], session: Session, socket: str
) -> Command:
    in_image = session.facts().isolation == "container"
    python = settings["python"] or ("python3" if in_image else sys.executable)
    config = LaunchConfig(
        checkpoint=request.checkpoint,
        generation_config=request.generation_config,
        chat_template=request.chat_template,
        template_date=request.template_date,
        arguments=serve_arguments(request, settings, socket),
    )
    workspace = PurePosixPath(session.inside("workspace"))
    here = Path(__file__).parents[1]
    files = {str(SOURCE_FOLDER / name): (here / name).read_bytes() for name in (*SOURCES, LAUNCHER)}
    return Command(
        argv=(
            str(python),
            str(workspace / SOURCE_FOLDER / LAUNCHER),
            str(workspace / CONFIG_FILE),
        ),
        env=_environment(settings, socket),
        files={**files, CONFIG_FILE: json.dumps(asdict(config)).encode()},
    )


def _environment(settings: Mapping[str, JsonValue], socket: str) -> dict[str, str]:
    """Return the server's environment: nothing from outside, nothing to outside.

    vLLM's processes talk through unix sockets of their own, whose paths must be short; the
    folder of the session's sockets is.
    """
    env = {
        **OFFLINE,
        "PYTHONSAFEPATH": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_RPC_BASE_PATH": str(PurePosixPath(socket).parent),
    }
    if settings["cpu_kv_cache_gib"] is not None:
        env["VLLM_CPU_KVCACHE_SPACE"] = str(settings["cpu_kv_cache_gib"])
    return env


def _facts(session: Session, process: ProcessHandle) -> Mapping[str, JsonValue]:
    """Return what served: versions by the launcher, device and number type by vLLM's own log."""
    facts: dict[str, JsonValue] = {}
    for line in session.logs(process, "stdout").splitlines():
        if FACTS_KEY.encode() in line:
            facts = dict(json.loads(line)[FACTS_KEY])
            break
    log = session.logs(process, "stderr")
    for name, pattern in (("device", DEVICE), ("dtype", DTYPE)):
        found = pattern.search(log)
        facts[name] = found[1].decode() if found else None
    return facts
