"""Opening sessions for checks, running commands in them, and looking for what is left of them."""

from __future__ import annotations

import secrets
import signal
import tempfile
import time
import unittest
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from ptb_core.errors import SandboxError
from ptb_core.interfaces import Sandbox, Session
from ptb_core.sandboxing import Command, ProcessHandle, ProcessStatus, SandboxRequest
from ptb_core.specs import JsonValue
from ptb_core.testing.component import ComponentConformance, remove_tree
from ptb_core.testing.expectation import expect
from ptb_core.testing.watching import marked_processes


class Finished:
    """What a finished command left.

    Attributes:
        status: How it ended.
        stdout: What it wrote.
        stderr: What it wrote there, as text.
    """

    def __init__(self, session: Session, command: Command, timeout_s: float) -> None:
        process = session.start(command)
        self.status: ProcessStatus = session.wait(process, timeout_s)
        what = " ".join(command.argv)[:80]
        expect(
            self.status.state == "exited",
            f"the command {what!r} must end; after {timeout_s:g} s it was still running",
        )
        self.stdout = session.logs(process)
        self.stderr = session.logs(process, "stderr").decode("utf-8", "replace")


class SandboxChecks(ComponentConformance[Sandbox]):
    """What the groups of sandbox checks share.

    Attributes:
        settings: What a plan would set for this sandbox.
        image: Image reference, for sandboxes that need one.
        patience_s: How long a check waits for what must come; far more than any sandbox needs.
    """

    kind = "sandbox"
    settings: Mapping[str, JsonValue] = {}
    image: str | None = None
    patience_s: float = 30.0
    limit_s: ClassVar[float] = 180
    _session: ClassVar[Session | None] = None
    _folder: ClassVar[Path | None] = None

    def setup_method(self) -> None:
        """Make the sandbox, a folder, and a mark that no other check uses."""
        super().setup_method()
        self.mark = f"ptb-check-{secrets.token_hex(6)}"

    def request(self, **fields: JsonValue) -> SandboxRequest:
        """Return a request with a name and root of its own, but for the fields given."""
        name = f"check-{secrets.token_hex(6)}"
        declared = {setting.name: setting.default for setting in self.component.spec.settings}
        given: dict[str, JsonValue] = {
            "name": name,
            "role": self.component.spec.roles[0],
            "root": self.tmp / name,
            "image": self.image,
            "settings": declared | dict(self.settings),
        }
        return SandboxRequest(**(given | fields))

    @classmethod
    def teardown_class(cls) -> None:
        """Close the session that checks shared."""
        if cls._session is not None:
            cls._session.close()
        if cls._folder is not None:
            remove_tree(cls._folder)
        cls._session = cls._folder = None

    def shared(self) -> Session:
        """Return a session that checks share which neither end it nor care what others left."""
        cls = type(self)
        if cls._session is None or cls._session.status().state != "running":
            cls.teardown_class()
            cls._folder = Path(tempfile.mkdtemp(prefix="ptb-check-sandbox-")).resolve()
            cls._session = self.component.open(self.request(root=cls._folder / "root"))
        return cls._session

    def open(self, **fields: JsonValue) -> Session:
        """Open a session that is closed after the check; fields are those of a request."""
        session = self.component.open(self.request(**fields))
        self.after.callback(session.close)
        return session

    def shell(self, session: Session, script: str, **fields: JsonValue) -> Finished:
        """Run a shell script to its end."""
        return Finished(session, Command(argv=("sh", "-c", script), **fields), self.patience_s)

    def run(self, session: Session, command: Command) -> Finished:
        """Run a command to its end."""
        return Finished(session, command, self.patience_s)

    def start_marked(self, session: Session, command: Command) -> ProcessHandle:
        """Start a command whose processes carry this check's mark in their environment."""
        env = {**command.env, "PTB_CHECK_MARK": self.mark}
        return session.start(
            Command(argv=command.argv, env=env, files=command.files, timeout_s=command.timeout_s)
        )

    def fetch(self, session: Session, path: str) -> bytes:
        """Return a file of the workspace."""
        target = self.tmp / f"fetched-{secrets.token_hex(4)}"
        session.get(path, target)
        return target.read_bytes()

    def has(self, session: Session, path: str) -> bool:
        """Say whether a file lies in the workspace."""
        try:
            self.fetch(session, path)
        except FileNotFoundError:
            return False
        return True

    def await_files(self, session: Session, *paths: str) -> None:
        """Wait until all these files lie in the workspace."""
        for path in paths:
            self.eventually(
                lambda path=path: self.has(session, path),  # type: ignore[misc]
                f"a command that runs must be able to write {path!r} into the workspace",
            )

    def eventually(self, holds: Callable[[], object], sentence: str) -> None:
        """Look again and again until something holds.

        Raises:
            BrokenPromiseError: With ``sentence``, if it does not within :attr:`patience_s`.
        """
        give_up = time.monotonic() + self.patience_s
        while not holds():
            expect(
                time.monotonic() < give_up, f"{sentence}; it did not within {self.patience_s:g} s"
            )
            time.sleep(0.005)

    def living(self) -> int:
        """Count the processes that carry this check's mark."""
        return len(marked_processes(self.mark))

    def await_living(self, count: int) -> None:
        """Wait until so many marked processes live; skip where they cannot be seen from here.

        Raises:
            unittest.SkipTest: If this host does not show the sandbox's processes.
        """
        give_up = time.monotonic() + self.patience_s
        while self.living() < count:
            if time.monotonic() > give_up:
                raise unittest.SkipTest("this host does not show the processes of this sandbox")
            time.sleep(0.005)

    def skip_unless_seen(self, session: Session) -> None:
        """Skip where this host does not show the sandbox's processes."""
        process = self.start_marked(session, Command(argv=("sleep", "60")))
        self.await_living(1)
        session.stop(process)

    def expect_none_living(self, after: str) -> None:
        """Expect that no marked process lives; ``after`` says what should have ended them."""
        left = self.living()
        expect(
            left == 0,
            f"after {after} no process of it may live; {left} {'does' if left == 1 else 'do'}",
        )

    def is_apart(self, session: Session) -> bool:
        """Say whether the facts claim any isolation."""
        return session.facts().isolation != "none"

    def skip_unless_apart(self, session: Session) -> None:
        """Skip where the facts say that nothing is isolated."""
        if not self.is_apart(session):
            raise unittest.SkipTest("its facts say isolation none, so nothing is promised here")


def kill_name(number: int | None) -> str:
    """Return an exit code in words: ``-9 (SIGKILL)``."""
    if number is None or number >= 0:
        return str(number)
    try:
        return f"{number} ({signal.Signals(-number).name})"
    except ValueError:
        return str(number)


def refused(session: Session) -> bool:
    """Say whether a session refuses to start a command, as frozen and killed ones must."""
    try:
        session.start(Command(argv=("true",)))
    except SandboxError:
        return True
    return False


def files_below(folder: Path) -> list[str]:
    """Return the relative paths of everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
