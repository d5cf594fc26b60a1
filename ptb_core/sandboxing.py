"""What passes between core and a sandbox: requests, commands, handles, statuses, facts.

Handles are plain JSON-able data, so that another supervisor on the same host can attach to a
session whose first supervisor is dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ptb_core.specs import JsonValue, NetworkPolicy, Role

Isolation: TypeAlias = Literal["none", "bwrap", "container"]
Stream: TypeAlias = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host folder or file that the inside sees.

    Attributes:
        name: What core calls it; ``Session.inside(name)`` gives its path inside.
        source: Absolute path on the host.
        read_only: True when the inside must not change it (enforced where isolation allows).
    """

    name: str
    source: Path
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits; None means the sandbox's own default (usually no limit).

    Attributes:
        cpus: Number of processors.
        memory_gib: Memory of the whole session.
        disk_gib: Size of workspace, home and temporary files together.
        processes: Number of processes and threads.
        file_gib: Largest single file.
    """

    cpus: float | None = None
    memory_gib: float | None = None
    disk_gib: float | None = None
    processes: int | None = None
    file_gib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRequest:
    """What a session must be.

    Attributes:
        name: Unique among live sessions of the host; used in process markers and names.
        role: What it is for.
        root: Host folder, empty or absent, that the sandbox may use for this session's files.
        workspace: Host folder that becomes the session's workspace (its working directory),
            writable; None makes an empty one below ``root``.
        mounts: Further folders.
        hidden: Host folders that the inside must not see (enforced where isolation allows).
        network: Network policy.
        devices: Device ids handed in, such as GPU indices or UUIDs.
        limits: Resource limits.
        deadline_unix_s: Wall-clock time at which the guardian freezes, hashes ``seal`` and kills
            everything, whether a supervisor lives or not; None for no deadline.
        seal: Paths below the workspace whose content is hashed at the freeze.
        image: Image reference, for sandboxes that use one.
        settings: The plan's settings of this sandbox.
    """

    name: str
    role: Role
    root: Path
    workspace: Path | None = None
    mounts: tuple[Mount, ...] = ()
    hidden: tuple[Path, ...] = ()
    network: NetworkPolicy = "none"
    devices: tuple[str, ...] = ()
    limits: Limits = Limits()
    deadline_unix_s: float | None = None
    seal: tuple[str, ...] = ()
    image: str | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to start inside a session.

    Attributes:
        argv: Program and arguments; strings may hold any characters but NUL.
        env: The whole environment besides HOME, PATH, TMPDIR, LANG and USER, which the sandbox
            sets; nothing is inherited from the host.
        cwd: Working directory, absolute inside path or relative to the workspace.
        stdin: Bytes for standard input; None means ``/dev/null``.
        files: Files to write below the workspace before the start, by relative path.
        timeout_s: Seconds after which the command's whole process tree is killed; None for no
            limit besides the session's deadline.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."
    stdin: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHandle:
    """All that is needed to find a session again; JSON-able.

    Attributes:
        sandbox: Name of the sandbox component.
        name: The session's name.
        data: The sandbox's own facts.
    """

    sandbox: str
    name: str
    data: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessHandle:
    """A command started in a session; JSON-able. ``id`` is unique in the session."""

    session: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """How a command stands.

    Attributes:
        state: ``running`` or ``exited``.
        exit_code: Exit status; negative is minus the signal; None while running.
        reason: Why it ended: ``exit``, ``timeout`` (its own time limit), ``deadline`` (the
            session's), ``killed`` (by core), ``out-of-memory``; None while running.
        started_unix_s: Start, wall clock.
        ended_unix_s: End, wall clock; None while running.
        omitted_output_bytes: What the sandbox did not keep of too long an output; the logs say
            where it is left out.
    """

    state: Literal["running", "exited"]
    exit_code: int | None = None
    reason: Literal["exit", "timeout", "deadline", "killed", "out-of-memory"] | None = None
    started_unix_s: float | None = None
    ended_unix_s: float | None = None
    omitted_output_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """One file below a sealed path, as it was at the freeze.

    Attributes:
        path: Relative to the workspace, POSIX form.
        size: Bytes.
        sha256: Hex digest; empty for links and special files.
        type: ``file``, ``link`` or ``special``.
    """

    path: str
    size: int
    sha256: str
    type: Literal["file", "link", "special"] = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """How a session stands.

    Attributes:
        state: ``running``, ``frozen`` (nothing inside runs or writes), ``killed`` (nothing
            inside exists any more).
        deadline_passed: True when the guardian ended it at the deadline.
        frozen_unix_s: When it was frozen, if it was.
        seal: Files below the sealed paths at the freeze; None before a freeze.
    """

    state: Literal["running", "frozen", "killed"]
    deadline_passed: bool = False
    frozen_unix_s: float | None = None
    seal: tuple[SealedFile, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFacts:
    """What really separates the inside from the host; goes into every record.

    Attributes:
        isolation: ``none``, ``bwrap`` or ``container``.
        description: How little or much that is, in one sentence for readers of a record.
        network_enforced: True when the network policy is enforced and not only asked for.
        enforced_limits: Names of the limits that are enforced.
        image_digest: Digest of the image, or None.
        devices: Devices handed in.
    """

    isolation: Isolation
    description: str
    network_enforced: bool
    enforced_limits: tuple[str, ...] = ()
    image_digest: str | None = None
    devices: tuple[str, ...] = ()
