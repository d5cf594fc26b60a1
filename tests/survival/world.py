"""A small real run for one round: plan, plugin on the path, processes, and who is who in /proc."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptb_core.run_folder import RunFolder

HERE = Path(__file__).resolve().parent
AGENT_CELL = "errands--tiny-qwen3--worker--r1"
BASE_CELL = "errands--tiny-qwen3--base"
ROUND_MARK = "PTB_SURVIVAL_ROUND"
SAMPLES = 16
WORK_S = 1.5

ROLES = ("command-line", "supervisor", "agent", "solve-guardian", "engine", "serve-guardian")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What kind of run a round makes."""

    isolation: str = "bwrap"
    engine: str = "double"
    batch_size: int = 4
    batch_s: float = 0.25
    endless: bool = False
    with_base: bool = False
    hours: float = 0.03
    work_s: float = WORK_S

    def plan(self) -> dict[str, Any]:
        arguments = ["endless"] if self.endless else ["finish", str(self.work_s)]
        double = {"batch_size": self.batch_size, "batch_s": self.batch_s}
        real = {"dtype": "float32", "threads": 1}
        return {
            "name": "survival",
            "tasks": ["errands"],
            "models": ["tiny-qwen3"],
            "agents": [
                {
                    "name": "worker",
                    "scaffold": "script",
                    "settings": {"program": "agent.py", "arguments": arguments},
                }
            ],
            "condition": {"hours": self.hours, "gpus": 0, "network": "open"},
            "sandbox": {"name": "local", "settings": {"isolation": self.isolation}},
            "engine": {
                "name": self.engine,
                "settings": double if self.engine == "double" else real,
            },
            "executor": {"name": "local", "settings": {"max_cells": 2}},
            "judges": [{"name": "lineage"}, {"name": "harness"}],
            "protocol": {"base": "strict", "limit": SAMPLES},
            "baselines": "measured" if self.with_base else "published",
        }


class World:
    """One round's folder, environment and processes."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.setup = setup
        self.run = folder / "run"
        self.plan = folder / "plan.json"
        self.token = secrets.token_hex(8)
        self.plan.write_text(json.dumps(setup.plan()), "utf-8")
        shutil.copyfile(HERE / "agent_program.py", folder / "agent.py")
        _lay_plugin(folder / "site")
        self.env = {
            **os.environ,
            ROUND_MARK: self.token,
            "PYTHONPATH": os.pathsep.join(
                [str(folder / "site"), str(HERE.parent.parent), str(HERE.parent.parent / "plugins")]
            ),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PTB_CACHE": str(folder / "cache"),
        }

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(self.run)

    @property
    def cells(self) -> list[str]:
        return [BASE_CELL, AGENT_CELL] if self.setup.with_base else [AGENT_CELL]

    def command_line(self) -> subprocess.Popen[bytes]:
        """Start ``ptb run`` on the round's folder; called again it resumes."""
        argv = [sys.executable, "-m", "ptb_core.cli.main", "run", "--plan", str(self.plan)]
        with (self.folder / "command-line.log").open("ab") as log:
            return subprocess.Popen(
                [*argv, "--run-dir", str(self.run)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )

    def finish(self, timeout_s: float = 180.0) -> int:
        """Run ``ptb run`` to its end and return its exit status."""
        process = self.command_line()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return -1

    def supervise(self, timeout_s: float) -> int:
        """Run the agent cell's supervisor alone to its end and return its exit status."""
        argv = [sys.executable, "-m", "ptb_core.cli.main", "cell", str(self.run), AGENT_CELL]
        with (self.folder / "command-line.log").open("ab") as log:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                timeout=timeout_s,
                check=False,
            )
        return done.returncode

    def run_id(self) -> str | None:
        """The run's id, once there is one."""
        try:
            return str(json.loads((self.run / "run.json").read_bytes())["run_id"])
        except (OSError, ValueError, KeyError):
            return None

    def remove(self) -> None:
        """Kill whatever is left of this round, and nothing else; then remove its folder."""
        for process in self.processes():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Who is who ---------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """Every living process of this round, oldest first."""
        run_id = self.run_id()
        mark = f"{ROUND_MARK}={self.token}".encode()
        session = f"PTB_SESSION={run_id}-".encode() if run_id else None
        found = []
        for process in all_processes():
            environment = process.environment
            is_ours = mark in environment or str(self.folder) in " ".join(process.argv)
            is_ours = is_ours or process.cwd.startswith(f"{self.folder}/")
            if session is not None:
                is_ours = is_ours or any(entry.startswith(session) for entry in environment)
            if is_ours and process.pid != os.getpid():
                found.append(process)
        return sorted(found, key=lambda process: process.started)

    def find(self, role: str, cell: str = AGENT_CELL) -> Process | None:
        """The living process that plays a role in a cell, or None."""
        for process in self.processes():
            if role_of(process, cell) == role:
                return process
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process as /proc showed it."""

    pid: int
    parent: int
    started: int
    argv: tuple[str, ...]
    environment: tuple[bytes, ...]
    cwd: str

    def kill(self) -> bool:
        """Send SIGKILL to exactly this process; False when it has gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if _stat(self.pid) is None or _stat(self.pid)[1] != self.started:  # type: ignore[index]
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def role_of(process: Process, cell: str) -> str | None:
    """Return what a process of a round is to a cell."""
    argv = process.argv
    words = " ".join(argv)
    if "ptb_core.cli.main" in argv:
        if "run" in argv:
            return "command-line"
        return "supervisor" if cell in argv else None
    if f"/cells/{cell}/" in words and argv[-1].endswith("control/config.json"):
        return "solve-guardian" if "/stages/solve/" in argv[-1] else "serve-guardian"
    session = next((e for e in process.environment if e.startswith(b"PTB_SESSION=")), b"")
    if f"-{cell}-".encode() not in session:
        return None
    if "engine_double_server.py" in words or "ptb_plugins.engines.transformers.server" in words:
        return "engine"
    return "agent" if argv[1:2] == ("agent.py",) and argv[2:3] != ("heartbeats",) else None


def all_processes() -> Iterator[Process]:
    """Every process that has not ended; what cannot be read of one is empty."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        stat = _stat(int(folder.name))
        if stat is None:
            continue
        argv = environment = b""
        cwd = ""
        with contextlib.suppress(OSError):
            argv = (folder / "cmdline").read_bytes()
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
        with contextlib.suppress(OSError):
            cwd = str((folder / "cwd").readlink())
        yield Process(
            pid=int(folder.name),
            parent=stat[0],
            started=stat[1],
            argv=tuple(argv.decode("utf-8", "replace").rstrip("\0").split("\0")),
            environment=tuple(environment.split(b"\0")),
            cwd=cwd,
        )


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time of a process, None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else (int(fields[1]), int(fields[19]))


def wait_until(holds: Callable[[], object], timeout_s: float) -> bool:
    """Look again and again; return whether it came to hold."""
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _lay_plugin(site: Path) -> None:
    """Install the engine double as pip would leave it."""
    shutil.copytree(HERE / "plugin", site, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "ptb_engine_double-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ptb-engine-double\nVersion: 1.0\n", "utf-8"
    )
    (info / "entry_points.txt").write_text("[ptb.v1]\nengine-double = ptb_engine_double\n", "utf-8")
