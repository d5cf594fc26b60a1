"""The sandbox ``local``: processes on this host, behind bubblewrap where that works."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ptb_core.api import (
    Condition,
    JsonValue,
    Limits,
    Sandbox,
    SandboxRequest,
    Session,
    SessionHandle,
)


class LocalSandbox(Sandbox):
    """Runs sessions as process trees of the host's user.

    It isolates little, and :meth:`Session.facts` says how little. What it does keep: nothing
    that runs inside outlives the session, the deadline holds with every supervisor dead, and no
    process of another session is ever touched.
    """

    def unusable_reason(self) -> str | None:
        """Return why this machine cannot run it: it needs Linux with pidfds."""
        if sys.platform != "linux":
            return f"needs Linux, and this is {sys.platform}; run it in a Linux machine"
        if not hasattr(os, "pidfd_open"):
            return "needs Linux 5.4 or later, and a Python built for it (os.pidfd_open)"
        return None

    def obstacles(
        self, condition: Condition, limits: Limits, settings: Mapping[str, JsonValue]
    ) -> tuple[str, ...]:
        """Say which GPUs, processors or memory are lacking, and what cannot be isolated."""
        from ptb_plugins.sandboxes.local.obstacles import host_obstacles, isolation_obstacles

        wanted = settings.get("isolation", "auto")
        return (*isolation_obstacles(condition, wanted), *host_obstacles(condition, limits))

    def execute_obstacles(self, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
        """Say why programs would not be separated: only bubblewrap does that here."""
        from ptb_plugins.sandboxes.local.obstacles import separation_obstacles

        return separation_obstacles(settings.get("isolation", "auto"))

    def open(self, request: SandboxRequest) -> Session:
        """Open a session; takes about 0.1 s."""
        from ptb_plugins.sandboxes.local.opening import open_session
        from ptb_plugins.sandboxes.local.session import LocalSession

        return LocalSession(self.spec.name, open_session(request))

    def attach(self, handle: SessionHandle) -> Session:
        """Attach to a session that lives or has ended in an orderly way."""
        from ptb_plugins.sandboxes.local.session import attach_session

        return attach_session(self.spec.name, handle)
