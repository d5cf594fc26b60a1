"""What the inside sees and reaches: as given, and as far as the facts claim isolation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

from ptb_core.errors import SandboxError
from ptb_core.sandboxing import Limits, Mount, SandboxFacts
from ptb_core.specs import Condition
from ptb_core.testing.expectation import expect, expect_error
from ptb_core.testing.material import python_command
from ptb_core.testing.sandbox.sessions import SandboxChecks

SOCKET_BYTES = 100
"""Longest host path of a socket; ``sockaddr_un`` holds 108 bytes."""

_BIND = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
connection, _ = listener.accept()
connection.sendall(connection.recv(100).upper())
"""
_CONNECT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b"hello host")
print(client.recv(100).decode())
"""
_REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    print("reached")
except OSError as error:
    print("refused", error)
"""
_RELAY = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
listener.accept()[0].sendall(b"relayed")
"""
_ASK = """
import socket, sys
print(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).recv(9).decode())
"""


class SeparationChecks(SandboxChecks):
    """Mounts, hidden folders, sockets, network, other processes, and the truth of the facts."""

    # Facts --------------------------------------------------------------------------------

    def test_its_facts_say_what_separates(self) -> None:
        """facts() names the isolation and describes it in a sentence."""
        facts: object = self.shared().facts()
        expect(
            isinstance(facts, SandboxFacts), f"facts() must return SandboxFacts, not {facts!r:.80}"
        )
        assert isinstance(facts, SandboxFacts)
        expect(
            facts.isolation in ("none", "bwrap", "container"),
            f"isolation must be none, bwrap or container; it is {facts.isolation!r}",
        )
        expect(facts.description.strip(), "the facts must describe the isolation; they do not")

    def test_its_facts_name_limits_that_were_asked_for(self) -> None:
        """Without limits no limit is called enforced."""
        found = self.open(limits=Limits()).facts().enforced_limits
        expect(not found, f"no limit was asked for, so none is enforced; the facts say {found}")

    def test_obstacles_are_sentences(self) -> None:
        """obstacles() returns a tuple of sentences, empty where the machine gives all."""
        settings = self.request().settings
        conditions = (
            Condition(hours=1, gpus=0, network=self.component.spec.network_policies[0]),
            Condition(hours=1, gpus=4096, gpu_name="no-such-gpu", network="none"),
        )
        for condition in conditions:
            found: object = self.component.obstacles(condition, Limits(), settings)
            expect(
                isinstance(found, tuple) and all(isinstance(text, str) and text for text in found),
                f"obstacles() must return a tuple of sentences; it returned {found!r:.80}",
            )
        if self.component.spec.gpus:
            expect(found, "4096 GPUs must be an obstacle; obstacles() named none")

    def test_what_keeps_programs_unseparated_is_said_in_sentences(self) -> None:
        """execute_obstacles() returns sentences, and at least one where nothing separates."""
        found: object = self.component.execute_obstacles(self.request().settings)
        expect(
            isinstance(found, tuple) and all(isinstance(text, str) and text for text in found),
            f"execute_obstacles() must return a tuple of sentences; it returned {found!r:.80}",
        )
        if "execute" in self.component.spec.roles:
            facts = self.open(role="execute").facts()
            expect(
                found or (facts.isolation != "none" and facts.network_enforced),
                "execute_obstacles() names none, so a session of role execute must be isolated "
                f"and without network; its facts say isolation {facts.isolation!r} and "
                f"network_enforced {facts.network_enforced}",
            )

    # Mounts -------------------------------------------------------------------------------

    def test_mounts_are_found_by_name(self) -> None:
        """inside(name) gives the place of a mounted folder or file."""
        source = self._vault()
        session = self.open(
            mounts=(
                Mount(name="folder", source=source),
                Mount(name="file", source=source / "answers"),
            )
        )
        script = f"cat '{session.inside('folder')}/answers' '{session.inside('file')}'"
        found = self.shell(session, script).stdout
        expect(found == b"4242", f"mounts must be readable where inside() says; got {found!r:.80}")

    def test_an_unknown_name_is_a_key_error(self) -> None:
        """inside() of a name that is no place raises KeyError."""
        session = self.shared()
        expect_error(KeyError, "inside() of an unknown name", lambda: session.inside("no-such"))

    def test_a_writable_mount_is_written(self) -> None:
        """What is written into a writable mount appears on the host."""
        source = self._vault()
        source.chmod(0o777)
        session = self.open(mounts=(Mount(name="shared", source=source, read_only=False),))
        self.shell(session, f"echo new > '{session.inside('shared')}/new'")
        expect((source / "new").is_file(), "a writable mount must be written through; it was not")

    def test_a_read_only_mount_cannot_be_changed(self) -> None:
        """Where anything is isolated, a read-only mount stays as it was."""
        source = self._vault()
        session = self.open(mounts=(Mount(name="fixed", source=source),))
        self.skip_unless_apart(session)
        place = session.inside("fixed")
        self.shell(
            session, f"echo x > '{place}/answers'; rm -f '{place}/answers'; touch '{place}/n'"
        )
        found = sorted(path.name for path in source.iterdir())
        expect(
            found == ["answers"] and (source / "answers").read_text() == "42",
            f"a read-only mount must stay as it was; it now holds {found}",
        )

    def test_a_missing_mount_cannot_be_opened(self) -> None:
        """open() with a mount that does not exist raises SandboxError and leaves nothing."""
        request = self.request(mounts=(Mount(name="gone", source=self.tmp / "gone"),))
        expect_error(
            SandboxError, "open() with a missing mount", lambda: self.component.open(request)
        )
        left = request.root.exists() and any(request.root.iterdir())
        expect(not left, f"an opening that fails must leave nothing; {request.root} is not empty")

    def test_a_given_workspace_is_the_workspace(self) -> None:
        """A host folder given as workspace is where commands work."""
        workspace = self.tmp / "given"
        workspace.mkdir()
        (workspace / "laid").write_text("before")
        session = self.open(workspace=workspace)
        found = self.shell(session, "cat laid; echo made > made").stdout
        expect(found == b"before", f"files laid into the workspace must be there; got {found!r}")
        session.kill()
        expect((workspace / "made").is_file(), "the given workspace must hold what was written")

    def test_writable_places_are_folders_of_the_host(self) -> None:
        """writable_places() gives existing folders by name, for the evidence."""
        session = self.open()
        self.shell(session, 'echo x > "$HOME/left-in-home"')
        session.kill()
        places = session.writable_places()
        wrong = [name for name, path in places.items() if not path.is_dir()]
        expect(not wrong, f"writable_places() must be folders; {', '.join(wrong)} is none")
        home = places.get("home")
        expect(
            home is None or (home / "left-in-home").is_file(),
            "the place 'home' must hold what was written there; it does not",
        )

    # The host -----------------------------------------------------------------------------

    def test_hidden_folders_cannot_be_seen(self) -> None:
        """Where anything is isolated, hidden folders show nothing of the host."""
        vault = self._vault()
        session = self.open(hidden=(vault, self.tmp / "absent"))
        self.skip_unless_apart(session)
        found = self.shell(session, f"ls -a '{vault}'; cat '{vault}/answers'").stdout
        expect(b"answers" not in found, f"a hidden folder must show nothing; it showed {found!r}")

    def test_files_of_the_host_cannot_be_changed(self) -> None:
        """Where anything is isolated, nothing outside the given places can be written."""
        session = self.open()
        self.skip_unless_apart(session)
        vault = self._vault()
        self.shell(session, f"echo x > '{vault}/answers'; rm -rf '{vault}'; touch '{vault}/new'")
        found = sorted(path.name for path in vault.iterdir()) if vault.is_dir() else []
        expect(
            found == ["answers"] and (vault / "answers").read_text() == "42",
            f"the host's files must stay as they were; a folder of the host now holds {found}",
        )

    def test_processes_of_the_host_cannot_be_seen(self) -> None:
        """Where anything is isolated, no process of the host is visible."""
        session = self.open()
        self.skip_unless_apart(session)
        code = "import sys; print('up', flush=True); sys.stdin.read()"
        bystander = subprocess.Popen(
            [sys.executable, "-c", code, self.mark], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.after.callback(bystander.communicate)
        assert bystander.stdout is not None
        bystander.stdout.readline()
        found = self.shell(session, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        expect(
            self.mark.encode() not in found,
            "no process of the host may be visible inside; one started beside the sandbox was",
        )

    def test_sessions_do_not_see_each_others_temporary_files(self) -> None:
        """TMPDIR is the session's own."""
        first, second = self.open(), self.open()
        self.shell(first, 'echo private > "$TMPDIR/of-the-first"')
        found = self.shell(second, 'ls "$TMPDIR"').stdout
        expect(
            b"of-the-first" not in found,
            f"a session's temporary files must be its own; another saw {found!r:.80}",
        )

    def test_sessions_do_not_see_each_others_processes(self) -> None:
        """Where anything is isolated, a session sees its own processes only."""
        first, second = self.open(), self.open()
        self.skip_unless_apart(first)
        first.start(python_command("import time; time.sleep(60)", self.mark))
        script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
        self.eventually(
            lambda: self.mark.encode() in self.shell(first, script).stdout,
            "a session must see its own processes",
        )
        found = self.shell(second, script).stdout
        expect(self.mark.encode() not in found, "a session must not see another's processes")

    # Network ------------------------------------------------------------------------------

    def test_without_network_nothing_is_reached(self) -> None:
        """Where network ``none`` is enforced, the host's loopback and all routes are cut."""
        session = self.open(network="none")
        if not session.facts().network_enforced:
            raise unittest.SkipTest("its facts say that the network policy is not enforced")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            for address, number in (("127.0.0.1", port), ("192.0.2.1", "80")):
                found = self.run(session, python_command(_REACH, address, number)).stdout
                expect(
                    found.startswith(b"refused"),
                    f"without network {address} must not be reached; the inside says {found!r:.80}",
                )

    def test_commands_of_a_session_share_their_loopback(self) -> None:
        """One command reaches another's server on 127.0.0.1: the gateway's relay needs it."""
        session = self.open(network="none")
        relay = session.start(python_command(_RELAY))
        self.eventually(lambda: session.logs(relay), "a command must be able to listen on loopback")
        port = session.logs(relay).decode().strip()
        found = self.run(session, python_command(_ASK, port)).stdout
        expect(found == b"relayed\n", f"commands must reach each other's loopback; got {found!r}")

    def test_an_open_network_is_said_to_be_enforced(self) -> None:
        """Nothing has to be enforced for an open network."""
        if "open" not in self.component.spec.network_policies:
            raise unittest.SkipTest("its manifest does not offer the network policy 'open'")
        facts = self.open(network="open").facts()
        expect(
            facts.network_enforced, "an open network needs no enforcement; the facts say it lacks"
        )

    def test_a_policy_that_is_not_offered_is_refused(self) -> None:
        """open() with a network policy outside the manifest's raises SandboxError."""
        offered = self.component.spec.network_policies
        others = [policy for policy in ("none", "gateway", "open") if policy not in offered]
        if not others:
            raise unittest.SkipTest("its manifest offers every network policy")
        for policy in others:
            request = self.request(network=policy)
            expect_error(
                SandboxError,
                f"open() with the network policy {policy!r}, which is not offered,",
                lambda request=request: self.component.open(request),  # type: ignore[misc]
            )

    # Sockets ------------------------------------------------------------------------------

    def test_a_socket_bound_inside_is_reached_from_the_host(self) -> None:
        """A server inside answers on the host's side of its socket: engines are reached so."""
        session = self.shared()
        host, inside = session.socket("inside.sock")
        session.start(python_command(_BIND, inside))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            self.eventually(
                lambda: _connects(client, host), "a socket bound inside must be reachable"
            )
            client.sendall(b"hello inside")
            found = client.recv(100)
        expect(found == b"HELLO INSIDE", f"a server inside must answer; got {found!r}")

    def test_a_socket_bound_on_the_host_is_reached_from_inside(self) -> None:
        """A server on the host answers inside: the gateway is reached so."""
        session = self.shared()
        host, inside = session.socket("host.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(host))
            os.chmod(host, 0o777)  # noqa: PTH101 - a socket's path
            listener.listen()
            listener.settimeout(30)
            server = threading.Thread(target=_answer_once, args=(listener,))
            server.start()
            found = self.run(session, python_command(_CONNECT, inside)).stdout
            server.join(30)
        expect(found == b"HELLO HOST\n", f"a server of the host must answer inside; got {found!r}")

    def test_paths_of_sockets_are_short_enough(self) -> None:
        """The host's path of a socket has under 100 bytes and does not exist before a bind."""
        host, _ = self.open(name="check-" + "n" * 60 + self.mark).socket("engine")
        size = len(os.fsencode(host))
        expect(size < SOCKET_BYTES, f"a socket's host path must have under 100 bytes, not {size}")
        expect(not host.exists(), f"{host} must not exist before somebody binds it; it does")

    # Parts --------------------------------------------------------------------------------

    def _vault(self) -> Path:
        folder = self.tmp / "vault"
        folder.mkdir()
        (folder / "answers").write_text("42")
        return folder


def _connects(client: socket.socket, path: Path) -> bool:
    try:
        client.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        time.sleep(0.002)
        return False
    return True


def _answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(100).upper())
