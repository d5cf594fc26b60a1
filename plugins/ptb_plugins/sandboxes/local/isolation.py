"""What separates the inside from the host: bubblewrap where it works, else nothing.

One bubblewrap per session, not per command: its process 1 is the spawner, and every command of
the session runs below it. So commands share one loopback and one ``/tmp`` (a relay and the
program that uses it), killing process 1 makes the kernel end the whole process namespace at once,
and ``--die-with-parent`` does the same when the guardian dies. Process 1 cannot be killed or
traced from inside.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from ptb_core.api import SandboxError, data_dir

Isolation: TypeAlias = Literal["none", "bwrap"]

SOCKETS_INSIDE = "/run/ptb"
"""Where the folder of the session's sockets appears under bubblewrap."""

_CREDENTIALS = (
    ".aws",
    ".azure",
    ".cache/huggingface/token",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".huggingface",
    ".kube",
    ".netrc",
    ".ssh",
)
"""Well-known credential places below the user's home. A list can only be incomplete: files of
the host's user count as readable unless core hides them."""

_KERNEL_SETTINGS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Where root writes settings of the whole host, needing no capability to do so. Bubblewrap 0.8
leaves ``/proc/sys`` writable when root starts it."""

_GPU_NODES = (
    "nvidiactl",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidia-modeset",
    "nvidia-caps",
    "kfd",
    "dri",
)
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_NAMESPACES = (
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--hostname",
    "sandbox",
    "--die-with-parent",
    "--new-session",
    "--as-pid-1",
    "--cap-drop",
    "ALL",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the inside sees of the host's files under bubblewrap; paths are the same inside.

    Attributes:
        tmp: Host folder that becomes ``/tmp`` and ``/var/tmp``.
        sockets: Host folder that becomes :data:`SOCKETS_INSIDE`.
        writable: Folders or files that the inside may change.
        read_only: Folders or files that it must see and not change.
        hidden: Folders or files that it must not see.
        share_network: True leaves it the host's network.
        gpus: True hands in the GPU device nodes.
    """

    tmp: Path
    sockets: Path
    writable: tuple[Path, ...]
    read_only: tuple[Path, ...]
    hidden: tuple[Path, ...]
    share_network: bool
    gpus: bool


@functools.cache
def bwrap_failure() -> str | None:
    """Return why bubblewrap cannot be used on this host, or None; tries it once per process."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed (no program bwrap on PATH)"
    argv = [
        program,
        *_NAMESPACES,
        "--unshare-net",
        *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        *("--", shutil.which("true") or "/bin/true"),
    ]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here: {error}"
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip()
        return f"bubblewrap does not work here: {words or f'exit status {done.returncode}'}"
    return None


def choose_isolation(wanted: object) -> Isolation:
    """Return the isolation that the setting ``isolation`` comes to on this host.

    Raises:
        SandboxError: If the setting is unknown, or asks for bubblewrap where it does not work.
    """
    if wanted not in ("auto", "bwrap", "none"):
        raise SandboxError(
            f"sandbox local: setting isolation is {wanted!r}; expected auto, bwrap or none"
        )
    if wanted == "none":
        return "none"
    failure = bwrap_failure()
    if failure is None:
        return "bwrap"
    if wanted == "bwrap":
        raise SandboxError(
            f"sandbox local: setting isolation is 'bwrap', but {failure}; install the package"
            " bubblewrap and allow user namespaces, or set isolation to auto"
        )
    return "none"


def bwrap_argv(view: View) -> list[str]:
    """Return the command line that runs what follows it inside ``view``."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError("sandbox local: the program bwrap has disappeared from PATH")
    steps = _Steps()
    steps.add("/", "--ro-bind", "/", "/")
    steps.add("/proc", "--proc", "/proc")
    for setting in _KERNEL_SETTINGS:
        steps.add(setting, "--ro-bind-try", setting, setting)
    steps.cover("/dev", "--dev", "/dev")
    for temporary in _temporary_folders():
        steps.cover(temporary, "--bind", str(view.tmp), temporary)
    for hidden in (Path("/run"), *_credentials(), *view.hidden):
        steps.hide(hidden)
    steps.show(_needed(view))
    for path in view.read_only:
        steps.add(str(path), "--ro-bind", str(path), str(path))
    for path in view.writable:
        steps.add(str(path), "--bind", str(path), str(path))
    steps.add(SOCKETS_INSIDE, "--bind", str(view.sockets), SOCKETS_INSIDE)
    if view.gpus:
        for node in _gpu_nodes():
            steps.add(node, "--dev-bind", node, node)
    network = [] if view.share_network else ["--unshare-net"]
    return [program, *_NAMESPACES, *network, *steps.arguments(), "--"]


class _Steps:
    """Mounts, put in order by depth: the most specific path decides what is seen there."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, tuple[str, ...]]] = []
        self._covers: list[Path] = []
        self._emptied: list[str] = []

    def add(self, target: str, *arguments: str) -> None:
        """Add a mount at ``target``; at the same path a later one lies above an earlier one."""
        if target in self._emptied:
            self._emptied.remove(target)
        depth = len(Path(target).parts)
        self._steps.append((depth, len(self._steps), arguments))

    def cover(self, target: str, *arguments: str) -> None:
        """Add a mount under which the host's own content disappears."""
        self.add(target, *arguments)
        self._covers.append(Path(target))

    def hide(self, path: Path) -> None:
        """Make a folder or file appear empty."""
        real = path.resolve()
        if real.is_dir():
            self.cover(str(real), "--tmpfs", str(real))
            self._emptied.append(str(real))
        elif real.exists():
            self.add(str(real), "--ro-bind", os.devnull, str(real))

    def show(self, paths: Iterable[Path]) -> None:
        """Show host paths again, read-only, where something shallower covers them."""
        for path in paths:
            if any(path.is_relative_to(cover) for cover in self._covers):
                self.add(str(path), "--ro-bind", str(path), str(path))

    def arguments(self) -> list[str]:
        """Return bubblewrap's arguments; emptied folders become read-only at the end."""
        mounts = [argument for _, _, step in sorted(self._steps) for argument in step]
        sealed = [argument for path in self._emptied for argument in ("--remount-ro", path)]
        return mounts + sealed


def _temporary_folders() -> Sequence[str]:
    real = {str(Path(folder).resolve()) for folder in ("/tmp", "/var/tmp") if Path(folder).is_dir()}
    return sorted(real)


def _credentials() -> Iterable[Path]:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    return (home / name for name in _CREDENTIALS)


def _needed(view: View) -> list[Path]:
    """Return what must stay visible: interpreter, installed packages, name resolution.

    Packages may lie outside of the interpreter's folder: a ``.pth`` file or a user's own site
    names others.
    """
    paths = [sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent)]
    paths += [entry for entry in sys.path if Path(entry).name in _PACKAGE_FOLDERS]
    for package in ("ptb_core", "ptb_plugins"):
        spec = find_spec(package)
        paths += list(spec.submodule_search_locations or ()) if spec is not None else []
    # In a checkout these lie beside the packages; the agent's evaluate.py reads them.
    paths += [str(data_dir() / name) for name in ("registry", "schemas")]
    if view.share_network:
        paths.append("/etc/resolv.conf")
    real = (Path(path).resolve() for path in paths)
    return sorted({path for path in real if path.exists()})


def _gpu_nodes() -> list[str]:
    numbered = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    return numbered + [f"/dev/{name}" for name in _GPU_NODES if Path(f"/dev/{name}").exists()]
