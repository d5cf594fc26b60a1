"""Opening a session: checks, folders, the guardian's configuration, its start.

What lies below a session's root::

    control/              not visible inside under bubblewrap
        config.json       what the guardian was told
        session.json      what a supervisor needs to attach
        guardian.json     the guardian's process
        state.json        how the session stands
        processes/<id>/   command.json, stdin, stdout, stderr, status.json
    home/  tmp/           the inside's home and temporary files
    workspace/            unless the request names one elsewhere
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.api import Limits, SandboxError, SandboxFacts, SandboxRequest
from ptb_plugins.sandboxes.local.facts import facts_of
from ptb_plugins.sandboxes.local.guard.files import write_json
from ptb_plugins.sandboxes.local.isolation import (
    SOCKETS_INSIDE,
    Isolation,
    View,
    bwrap_argv,
    choose_isolation,
)
from ptb_plugins.sandboxes.local.runtime import (
    CONTROL_SOCKET,
    SOCKETS,
    claim,
    identity,
    release,
)
from ptb_plugins.sandboxes.local.survivors import MARK, kill_survivors

_GUARDIAN = Path(__file__).with_name("guardian.py")
_OWN_NAMES = ("workspace", "home", "tmp")
_MIB, _GIB = 2**20, 2**30
OUTPUT_MIB = 256
"""Bound of each output stream where a request says nothing; as in the manifest."""
_START_WITHIN_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """What is written down for every supervisor; lies in ``control/session.json``.

    Attributes:
        name: The session's name.
        mark: Value of the environment mark of its processes.
        control: Control folder.
        runtime: Folder of its sockets.
        workspace: Host folder of the workspace.
        tmp: Host folder of the temporary files.
        inside: Inside path by name.
        sockets_inside: Inside path of the folder of sockets.
        env: Environment that every command gets.
        facts: What separates it from the host.
    """

    name: str
    mark: str
    control: str
    runtime: str
    workspace: str
    tmp: str
    inside: dict[str, str]
    sockets_inside: str
    env: dict[str, str]
    facts: SandboxFacts


def open_session(request: SandboxRequest) -> OpenedSession:
    """Open a session and return it with its guardian running.

    Raises:
        SandboxError: If it cannot be opened; nothing is left behind.
    """
    _check(request)
    isolation = choose_isolation(request.settings.get("isolation", "auto"))
    mark = f"{request.name}:{secrets.token_hex(8)}"
    with contextlib.ExitStack() as undo:
        root, workspace = _make_folders(request, undo)
        control = root / "control"
        runtime = claim(request.name, control, mark)
        undo.callback(release, runtime, mark)
        undo.callback(kill_survivors, control, mark)
        session = _describe(request, isolation, mark, root, workspace, runtime)
        write_json(control / "session.json", msgspec.to_builtins(session), durable=True)
        write_json(control / "config.json", _guardian_config(request, isolation, session))
        _start_guardian(request.name, control)
        undo.pop_all()
    return session


def _check(request: SandboxRequest) -> None:
    problem = _problem(request)
    if problem is not None:
        raise SandboxError(f"sandbox local: session {request.name!r} cannot be opened: {problem}")


def _problem(request: SandboxRequest) -> str | None:
    if not request.name or not request.name.isprintable() or len(request.name) > 200:
        return "its name must be 1 to 200 printable characters"
    if request.network == "gateway":
        return (
            "network policy 'gateway' needs a filtered network, which this sandbox does not"
            " offer; use 'none' (with the gateway's socket) or 'open'"
        )
    if request.deadline_unix_s is not None and request.deadline_unix_s <= time.time():
        return f"its deadline passed {time.time() - request.deadline_unix_s:.0f} s ago"
    if _output_mib(request) < 0:
        return f"its setting output_mib is {_output_mib(request)}; expected 0 or more"
    names = [mount.name for mount in request.mounts]
    for name in names:
        if name in _OWN_NAMES or names.count(name) > 1:
            return f"mount name {name!r} is taken; names are unique and not one of {_OWN_NAMES}"
    for mount in request.mounts:
        if not mount.source.exists():
            return f"mount {mount.name!r}: {mount.source} does not exist"
    for path in request.seal:
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            return f"sealed path {path!r} is not below the workspace; give a relative path"
    return None


def _make_folders(request: SandboxRequest, undo: contextlib.ExitStack) -> tuple[Path, Path]:
    root = request.root.resolve()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise SandboxError(
            f"sandbox local: session {request.name!r} cannot be opened: its root {root} is not"
            " empty; every session needs a folder of its own"
        )
    _make_folder(root, undo)
    for name in ("control", "home", "tmp"):
        _make_folder(root / name, undo)
        (root / name).chmod(0o700)
    (root / "control" / "processes").mkdir()
    workspace = (request.workspace or root / "workspace").resolve()
    _make_folder(workspace, undo)
    return root, workspace


def _make_folder(folder: Path, undo: contextlib.ExitStack) -> None:
    """Make a folder with its parents; an opening that fails removes what it has made."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        try:
            path.mkdir()
        except OSError as error:
            raise SandboxError(f"sandbox local: cannot make {path}: {error.strerror}") from error
        undo.callback(shutil.rmtree, path, ignore_errors=True)


def _describe(
    request: SandboxRequest,
    isolation: Isolation,
    mark: str,
    root: Path,
    workspace: Path,
    runtime: Path,
) -> OpenedSession:
    apart = isolation == "bwrap"
    inside = {mount.name: str(mount.source.resolve()) for mount in request.mounts}
    inside["workspace"] = str(workspace)
    inside["home"] = str(root / "home")
    inside["tmp"] = "/tmp" if apart else str(root / "tmp")
    return OpenedSession(
        name=request.name,
        mark=mark,
        control=str(root / "control"),
        runtime=str(runtime),
        workspace=str(workspace),
        tmp=str(root / "tmp"),
        inside=inside,
        sockets_inside=SOCKETS_INSIDE if apart else str(runtime / SOCKETS),
        env={
            "HOME": inside["home"],
            "PATH": os.pathsep.join(_search_path()),
            "TMPDIR": inside["tmp"],
            "LANG": "C.UTF-8",
            "USER": "agent",
            "CUDA_VISIBLE_DEVICES": ",".join(request.devices),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            MARK: mark,
        },
        facts=facts_of(isolation, request),
    )


def _search_path() -> Iterator[str]:
    """Yield the host's PATH with the running interpreter's folder first."""
    yield str(Path(sys.executable).parent)
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if folder.startswith("/"):
            yield folder


def _guardian_config(
    request: SandboxRequest, isolation: Isolation, session: OpenedSession
) -> dict[str, object]:
    spawner = [sys.executable, "-I", "-S", str(_GUARDIAN), "spawner", _processors(request.limits)]
    view = _view(request, session)
    limits = request.limits
    return {
        "control": session.control,
        "opener": identity(),
        "socket": str(Path(session.runtime, CONTROL_SOCKET)),
        "isolation": isolation,
        "workspace": session.workspace,
        "seal": list(request.seal),
        "deadline_unix_s": request.deadline_unix_s,
        "inside_argv": [*bwrap_argv(view), *spawner] if isolation == "bwrap" else spawner,
        "inside_env": {"PATH": session.env["PATH"], "LANG": "C.UTF-8", MARK: session.mark},
        "limits": {
            "memory_bytes": _bytes(limits.memory_gib),
            "processes": limits.processes,
            "disk_bytes": _bytes(limits.disk_gib),
        },
        "file_bytes": _bytes(limits.file_gib),
        "output_bytes": _output_mib(request) * _MIB,
        "disk_folders": [
            session.workspace,
            session.inside["home"],
            session.tmp,
            str(Path(session.control, "processes")),
        ],
    }


def _output_mib(request: SandboxRequest) -> int:
    return int(request.settings.get("output_mib", OUTPUT_MIB))


def _view(request: SandboxRequest, session: OpenedSession) -> View:
    control = Path(session.control)
    mounts = [(mount.read_only, mount.source.resolve()) for mount in request.mounts]
    return View(
        tmp=Path(session.tmp),
        sockets=Path(session.runtime, SOCKETS),
        writable=(
            Path(session.workspace),
            Path(session.inside["home"]),
            *(path for read_only, path in mounts if not read_only),
        ),
        read_only=tuple(path for read_only, path in mounts if read_only),
        hidden=(control.parent, *request.hidden),
        share_network=request.network == "open",
        gpus=bool(request.devices),
    )


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * _GIB)


def _processors(limits: Limits) -> str:
    """Return the processors to run on as a JSON list; sessions are spread at random."""
    if limits.cpus is None:
        return "[]"
    available = sorted(os.sched_getaffinity(0))
    wanted = min(len(available), max(1, math.ceil(limits.cpus)))
    return json.dumps(sorted(random.sample(available, wanted)))


def _start_guardian(name: str, control: Path) -> None:
    argv = [sys.executable, "-I", "-S", str(_GUARDIAN), str(control / "config.json")]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"LANG": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
            timeout=_START_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(
            f"sandbox local: session {name!r} cannot be opened: its guardian did not start: {error}"
        ) from error
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip()
        raise SandboxError(f"sandbox local: session {name!r} cannot be opened: {words}")
