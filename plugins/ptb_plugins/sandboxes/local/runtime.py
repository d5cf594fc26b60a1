"""The live sessions of this user on this host: one short folder each, for names and sockets.

``/tmp/ptb-<uid>/<hash of the name>/`` holds the guardian's control socket and the session's own
sockets. The place is fixed, and not taken from TMPDIR or XDG_RUNTIME_DIR, because supervisors
with different environments must find the same sessions, and socket paths must stay under 100
bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptb_core.api import SandboxError
from ptb_plugins.sandboxes.local.guard.files import read_json, sweep, write_json
from ptb_plugins.sandboxes.local.guard.tree import is_alive, read
from ptb_plugins.sandboxes.local.survivors import boot_id, kill_survivors

CONTROL_SOCKET = "control"
SOCKETS = "s"


def claim(name: str, control: Path, mark: str) -> Path:
    """Take a session name and return its fresh folder.

    What a dead session of that name left behind is killed and removed first.

    Raises:
        SandboxError: If a live session has the name, or the place is not safe.
    """
    with _locked() as base:
        _sweep_others(base)
        folder = base / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        holder = _read(folder)
        if holder is not None:
            if _holder_lives(holder):
                raise SandboxError(
                    f"sandbox local: a live session is already named {name!r} (its files are in"
                    f" {Path(holder['control']).parent}); close it, or take another name"
                )
            _sweep(holder)
        if folder.exists():
            shutil.rmtree(folder)
        (folder / SOCKETS).mkdir(parents=True, mode=0o700)
        write_json(
            folder / "session.json",
            {"name": name, "control": str(control), "mark": mark, "opener": identity()},
        )
        return folder


def release(folder: Path, mark: str) -> None:
    """Remove a session's folder, unless a later session of the same name owns it."""
    with _locked() as base:
        holder = _read(folder)
        if holder is not None and holder["mark"] == mark:
            shutil.rmtree(folder)
        _sweep_others(base)
        with contextlib.suppress(OSError):  # others are still there
            base.rmdir()


def identity() -> dict[str, object]:
    """Return what tells this process from every other, also after a restart of the machine."""
    me = read(os.getpid())
    assert me is not None
    namespace = str(Path("/proc/self/ns/pid").readlink())
    return {"pid": me.pid, "start": me.start, "boot_id": boot_id(), "namespace": namespace}


def end_lost(name: str, control: Path) -> None:
    """Kill and forget a session whose control folder is gone, such as in a run that was moved.

    Nobody could learn any more what it did, and its guardian could not seal it.

    Args:
        name: The session's name.
        control: Where its control folder was; a later session of that name is left alone.
    """
    with _locked() as base:
        folder = base / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        holder = read_json(folder / "session.json")
        if holder is not None and holder["control"] == str(control):
            kill_survivors(control, str(holder["mark"]))
            shutil.rmtree(folder)


def guardian_lives(control: Path) -> bool | None:
    """Return whether a session's guardian lives and can run; None when none ever started."""
    identity = read_json(control / "guardian.json")
    if identity is None:
        return None
    return _lives(identity)


def _lives(identity: dict[str, object]) -> bool:
    pid, start = identity["pid"], identity["start"]
    assert isinstance(pid, int)
    assert isinstance(start, int)
    if identity["boot_id"] != boot_id() or not is_alive(pid, start):
        return False
    process = read(pid)
    return process is not None and process.state != "T"


def _holder_lives(holder: dict[str, object]) -> bool:
    control = Path(str(holder["control"]))
    state = read_json(control / "state.json")
    if state is not None and state["ended"]:
        return False
    lives = guardian_lives(control)
    if lives is None:
        opener = holder["opener"]
        assert isinstance(opener, dict)
        return _lives(opener)
    return lives


def _sweep(holder: dict[str, object]) -> None:
    control = Path(str(holder["control"]))
    state = read_json(control / "state.json")
    if state is None or not state["ended"]:
        kill_survivors(control, str(holder["mark"]))
    sweep(control)


def _sweep_others(base: Path) -> None:
    """Remove what sessions left whose opener and guardian were killed; nobody else will.

    A process that this one cannot see (in another container with the same ``/tmp``) is left
    alone, and so is a session whose guardian is merely stopped.
    """
    for folder in list(base.iterdir()):
        holder = _read(folder)
        if holder is None:  # its opener was killed while it held the lock
            shutil.rmtree(folder, ignore_errors=True)
        elif _is_abandoned(holder):
            _sweep(holder)
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(holder: dict[str, Any]) -> bool:
    opener, here = holder["opener"], identity()
    if any(opener.get(name) != here[name] for name in ("boot_id", "namespace")):
        return False
    if is_alive(opener["pid"], opener["start"]):
        return False
    control = Path(holder["control"])
    state = read_json(control / "state.json")
    guardian = read_json(control / "guardian.json")
    if guardian is None or (state is not None and state["ended"]):
        return True
    return not is_alive(guardian["pid"], guardian["start"])


def _read(folder: Path) -> dict[str, Any] | None:
    """Return who holds a folder; None for one that was left half made or half removed."""
    try:
        return read_json(folder / "session.json")
    except ValueError:
        return None


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    """Hold the lock of the folder that all sessions of this user share."""
    base = Path(f"/tmp/ptb-{os.getuid()}")
    while True:
        base.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # removed by another session's end just now
            continue
        try:
            _check_private(base, os.fstat(descriptor))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # 0: removed while waiting for the lock
                yield base
                return
        finally:
            os.close(descriptor)


def _check_private(base: Path, status: os.stat_result) -> None:
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise SandboxError(
            f"sandbox local: {base} belongs to user {status.st_uid} with mode"
            f" {stat.S_IMODE(status.st_mode):o}; expected this user's own with mode 700."
            " Remove it, or have its owner do so"
        )
