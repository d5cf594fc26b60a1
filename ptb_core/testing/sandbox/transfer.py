"""Copying into and out of a workspace that may be hostile."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ptb_core.errors import SandboxError
from ptb_core.sandboxing import Command
from ptb_core.testing.expectation import expect, expect_error
from ptb_core.testing.material import python_command
from ptb_core.testing.sandbox.sessions import SandboxChecks, files_below

LEADING_OUT = ("../out", "a/../../out", "/etc/out")
UNUSUAL_NAMES = ("with space", "new\nline", "-rf", "ünï 🦆", "quote'\"`$", "back\\slash", ".hidden")

_DIGESTS = """
import hashlib, os
for folder, _, names in sorted(os.walk("box")):
    for name in sorted(names):
        path = os.path.join(folder, name)
        digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
        print(os.path.relpath(path, "box"), digest, bool(os.stat(path).st_mode & 0o100))
"""


class TransferChecks(SandboxChecks):
    """put() and get(), files and folders, and what they refuse."""

    def test_a_file_put_inside_is_that_file(self) -> None:
        """put() of a file gives the same bytes at the target, parents made."""
        session = self.open()
        source = self._source(bytes(range(256)) * 8000)
        session.put(source, "deep/er/file")
        found = self.shell(session, "sha256sum < deep/er/file").stdout.decode().split()[0]
        wanted = hashlib.sha256(source.read_bytes()).hexdigest()
        expect(found == wanted, f"put() must copy a file byte for byte; sha256 {found} != {wanted}")

    def test_put_replaces_a_file(self) -> None:
        """put() over an existing file leaves the new content alone."""
        session = self.open()
        session.put(self._source(b"long content"), "file")
        session.put(self._source(b"new"), "file")
        found = self.fetch(session, "file")
        expect(found == b"new", f"put() must replace a file; it holds {found!r:.80}")

    def test_an_executable_file_stays_executable(self) -> None:
        """put() keeps the permission to execute."""
        session = self.open()
        source = self._source(b"#!/bin/sh\necho ran\n")
        source.chmod(0o755)
        session.put(source, "program.sh")
        done = self.run(session, Command(argv=("./program.sh",)))
        expect(
            done.stdout == b"ran\n",
            f"an executable file must stay executable; got {done.status.exit_code}, "
            f"{done.stderr[:80]!r}",
        )

    def test_a_folder_put_inside_is_that_box(self) -> None:
        """put() of a folder copies all files with their bytes and permissions."""
        session = self.open()
        folder = self._box()
        session.put(folder, "box")
        found = self.run(session, python_command(_DIGESTS)).stdout.decode().splitlines()
        wanted = [
            f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()} "
            f"{bool(path.stat().st_mode & 0o100)}"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        expect(
            sorted(found) == sorted(wanted),
            f"put() must copy a folder as it is; {found} != {wanted}",
        )

    def test_a_folder_comes_back_as_it_was(self) -> None:
        """get() of a folder gives the same files with the same bytes."""
        session = self.open()
        folder = self._box()
        session.put(folder, "box")
        session.get("box", self.tmp / "back")
        found = _contents(self.tmp / "back")
        expect(
            found == _contents(folder),
            f"a folder must come back as it was; it came back with {sorted(found)}",
        )

    def test_unusual_file_names_come_back(self) -> None:
        """Names with blanks, line ends, quotes, signs and any script pass both ways."""
        session = self.open()
        folder = self.tmp / "unusual"
        folder.mkdir()
        for name in UNUSUAL_NAMES:
            (folder / name).write_text(name, "utf-8")
        session.put(folder, "box")
        session.get("box", self.tmp / "back")
        found = files_below(self.tmp / "back")
        expect(found == sorted(UNUSUAL_NAMES), f"unusual names must pass both ways; got {found}")

    def test_links_are_not_followed_out(self) -> None:
        """get() of a folder leaves links and special files out."""
        session = self.open()
        self.shell(
            session,
            "mkdir -p out/deep; echo a > out/deep/a; ln -s /etc/passwd out/b; ln -s / out/c;"
            " mkfifo out/d",
        )
        session.get("out", self.tmp / "got")
        found = files_below(self.tmp / "got")
        expect(
            found == ["deep", "deep/a"],
            f"get() must leave links and special files out; it brought {found}",
        )

    def test_a_link_cannot_be_fetched(self) -> None:
        """get() of a link raises SandboxError instead of following it."""
        session = self.open()
        self.shell(session, "ln -s /etc/passwd link")
        target = self.tmp / "target"
        expect_error(SandboxError, "get() of a link", lambda: session.get("link", target))
        expect(not target.exists(), "get() of a link must bring nothing; it brought a file")

    def test_no_path_leads_out_of_the_workspace(self) -> None:
        """put(), get() and a command's files refuse absolute paths and ``..``."""
        session = self.open()
        source = self._source(b"x")
        for path in LEADING_OUT:
            expect_error(SandboxError, f"put() to {path}", lambda p=path: session.put(source, p))  # type: ignore[misc]
            expect_error(
                SandboxError,
                f"get() from {path}",
                lambda p=path: session.get(p, self.tmp / "target"),  # type: ignore[misc]
            )
            expect_error(
                SandboxError,
                f"a command with a file at {path}",
                lambda p=path: session.start(Command(argv=("true",), files={p: b"x"})),  # type: ignore[misc]
            )

    def test_no_link_leads_out_of_the_workspace(self) -> None:
        """A link to a folder outside is not a way for put() or get()."""
        session = self.open()
        outside = self.tmp / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        self.shell(session, f"ln -s {outside} way")
        source = self._source(b"new")
        expect_error(
            SandboxError, "put() through a link", lambda: session.put(source, "way/secret")
        )
        expect_error(
            SandboxError,
            "get() through a link",
            lambda: session.get("way/secret", self.tmp / "target"),
        )
        expect(
            (outside / "secret").read_text() == "secret" and files_below(outside) == ["secret"],
            "put() must not write through a link; it changed a folder outside the workspace",
        )

    def test_a_missing_source_is_named(self) -> None:
        """put() and get() of what is not there raise FileNotFoundError."""
        session = self.open()
        missing = self.tmp / "missing"
        expect_error(
            FileNotFoundError, "put() of a missing file", lambda: session.put(missing, "here")
        )
        expect_error(
            FileNotFoundError,
            "get() of a missing file",
            lambda: session.get("missing", self.tmp / "target"),
        )

    def test_files_can_be_fetched_after_the_kill(self) -> None:
        """get() works on a killed session."""
        session = self.open()
        self.shell(session, "echo late > file")
        session.kill()
        found = self.fetch(session, "file")
        expect(found == b"late\n", f"files must be readable after kill(); got {found!r:.80}")

    def _source(self, content: bytes) -> Path:
        path = self.tmp / "source"
        path.write_bytes(content)
        path.chmod(0o644)
        return path

    def _box(self) -> Path:
        folder = self.tmp / "folder"
        for number, name in enumerate(("a", "b/c", "b/d/e.bin", "b/d/f.sh")):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(range(256)) * (number * 100))
        (folder / "b/d/f.sh").chmod(0o755)
        return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
