"""Sandboxes that break one promise each: the built-in one, altered in one thing.

They are importable classes without state, so that the checks can build them in another process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ptb_core.api import Limits, SessionHandle, SessionStatus
from ptb_plugins.sandboxes.local.opening import open_session
from ptb_plugins.sandboxes.local.sandbox import LocalSandbox
from ptb_plugins.sandboxes.local.session import LocalSession

OPENED: list[LocalSession] = []
"""Every session that was really opened, for a clean-up that no altered method can prevent."""


class Altered(LocalSandbox):
    """Opens sessions of :attr:`session`, with requests as :meth:`asked` alters them."""

    session = LocalSession

    def open(self, request):
        opened = open_session(self.asked(request))
        OPENED.append(LocalSession(self.spec.name, opened))
        return self.session(self.spec.name, opened)

    def attach(self, handle):
        found = super().attach(handle)
        return self.session(self.spec.name, found._opened)

    def asked(self, request):
        return request


def with_session(**methods: Callable[..., object]) -> type[Altered]:
    return type("WithSession", (Altered,), {"session": type("Wrong", (LocalSession,), methods)})


def started(alter: Callable[..., object]) -> type[Altered]:
    """A sandbox that alters each command before it starts."""
    return with_session(start=lambda self, command: LocalSession.start(self, alter(command)))


def polled(alter: Callable[..., object]) -> type[Altered]:
    """A sandbox that alters each status of a command."""
    return with_session(
        poll=lambda self, process: alter(LocalSession.poll(self, process)),
        wait=lambda self, process, timeout_s=None: alter(
            LocalSession.wait(self, process, timeout_s)
        ),
    )


def asking(alter: Callable[..., object]) -> type[Altered]:
    """A sandbox that alters each request before it opens a session."""
    return type("Asking", (Altered,), {"asked": lambda self, request: alter(request)})


def facts_of(**fields: object) -> type[Altered]:
    return with_session(facts=lambda self: replace(LocalSession.facts(self), **fields))


# Commands -------------------------------------------------------------------------------------

Inheriting = started(lambda command: replace(command, env={**os.environ, **command.env}))
Leaking = started(lambda command: replace(command, env={**command.env, "LD_DEBUG_SECRET": "x"}))
WithoutStdin = started(lambda command: replace(command, stdin=None))
Elsewhere = started(lambda command: replace(command, cwd="."))
WithoutFiles = started(lambda command: replace(command, files={}))
Shortening = started(
    lambda command: replace(command, argv=tuple(word[:4096] for word in command.argv))
)
Shelled = started(
    lambda command: replace(command, argv=("sh", "-c", " ".join(command.argv) or "true"))
)
ShellCodes = polled(
    lambda status: (
        replace(status, exit_code=128 - status.exit_code) if (status.exit_code or 0) < 0 else status
    )
)
OfOneStream = with_session(
    logs=lambda self, process, stream="stdout", since=0: LocalSession.logs(
        self, process, "stdout", since
    )
)
Decoding = with_session(
    logs=lambda self, process, stream="stdout", since=0: (
        LocalSession.logs(self, process, stream, since).decode("utf-8", "replace").encode()
    )
)
FromTheStart = with_session(
    logs=lambda self, process, stream="stdout", since=0: LocalSession.logs(self, process, stream)
)
Cutting = with_session(
    logs=lambda self, process, stream="stdout", since=0: LocalSession.logs(
        self, process, stream, since
    )[:1_000_000]
)
Unsignalled = with_session(signal=lambda self, process, number: None)


# Ending ---------------------------------------------------------------------------------------

WithoutTimeOut = started(lambda command: replace(command, timeout_s=None))
TimeOutOfOne = started(
    lambda command: (
        command
        if command.timeout_s is None
        else replace(
            command,
            timeout_s=None,
            argv=("timeout", "-s", "KILL", str(command.timeout_s), *command.argv),
        )
    )
)


def _stop_one(self, process):
    LocalSession.signal(self, process, 9)
    LocalSession.wait(self, process, 10)


StoppingOne = with_session(stop=_stop_one)


def _stop_all(self, process):
    LocalSession.kill(self)


StoppingAll = with_session(stop=_stop_all)


def _pretend_frozen(self):
    status = LocalSession.status(self)
    return SessionStatus(state="frozen", seal=status.seal or (), frozen_unix_s=1.0)


Pretending = with_session(freeze=_pretend_frozen)


def _follow_links(self):
    status = LocalSession.freeze(self)
    files = tuple(replace(file, type="file") for file in status.seal or ())
    return replace(status, seal=files)


SealingLinks = with_session(freeze=_follow_links)
Unkillable = with_session(kill=lambda self: None)
Unclosable = with_session(close=lambda self: None)
WithoutDeadline = asking(lambda request: replace(request, deadline_unix_s=None))


class SealingNothing(Altered):
    """Forgets what it should seal."""

    def asked(self, request):
        return replace(request, seal=())


Renaming = asking(lambda request: replace(request, name=request.name + os.urandom(4).hex()))


class AttachingToAnything(Altered):
    """Attaches without looking whether there is anything."""

    def attach(self, handle):
        class Anything:
            def status(self):
                return SessionStatus(state="running")

        return Anything()


ForgetfulHandle = with_session(
    handle=property(
        lambda self: SessionHandle(
            sandbox="another", name=LocalSession.handle.fget(self).name, data={}
        )
    )
)


# Transfer -------------------------------------------------------------------------------------


def _plain_put(self, source, target):
    place = Path(self.inside("workspace"), target)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)


def _plain_get(self, source, target):
    place = Path(self.inside("workspace"), source)
    if place.is_dir():
        shutil.copytree(place, target, ignore=shutil.ignore_patterns("d"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, target)


Careless = with_session(put=_plain_put, get=_plain_get)


# Separation -----------------------------------------------------------------------------------

ClaimingIsolation = facts_of(isolation="container", network_enforced=True)
ClaimingLimits = facts_of(enforced_limits=("memory_gib", "disk_gib", "processes", "file_gib"))
SayingNothing = facts_of(description=" ")
Unknown = facts_of(isolation="magic")
WithoutMounts = asking(lambda request: replace(request, mounts=()))
ReadOnlyMounts = asking(
    lambda request: replace(
        request, mounts=tuple(replace(mount, read_only=True) for mount in request.mounts)
    )
)
AnyNetwork = asking(lambda request: replace(request, network="open"))
AnywhereInside = with_session(inside=lambda self, name: self._opened.inside.get(name, "/nowhere"))
LongPaths = with_session(
    socket=lambda self, name: (Path(self.inside("workspace"), "s" * 80, name), f"/{name}")
)
NoFacts = with_session(facts=lambda self: {"isolation": "none"})


class WithoutObstacles(Altered):
    """Names no obstacle, whatever is asked for."""

    def obstacles(self, condition, limits, settings):
        return ()


class WithoutExecuteObstacles(Altered):
    """Says of no host that programs would not be separated there."""

    def execute_obstacles(self, settings):
        return ()


def unlimited(request):
    """Return a request without its limits."""
    return replace(request, limits=Limits())
