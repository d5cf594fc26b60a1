"""Copying into and out of a workspace that may be hostile."""

from pathlib import Path

import pytest
from sandbox_running import OpenSession, shell

from ptb_core.api import Command, SandboxError, Session


@pytest.fixture(scope="module")
def isolation() -> str:
    """Copying is the host's work and the same under every isolation."""
    return "auto"


def workspace(session: Session) -> Path:
    return Path(session.inside("workspace"))


def test_a_file_arrives_with_its_content_and_may_be_executed(
    open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session()
    source = tmp_path / "script"
    source.write_text("#!/bin/sh\necho ran")
    source.chmod(0o755)
    session.put(source, "bin/script")
    assert shell(session, "bin/script").stdout == b"ran\n"
    source.write_bytes(bytes(3_000_000))
    session.put(source, "bin/script")
    session.get("bin/script", tmp_path / "back" / "again")
    assert (tmp_path / "back" / "again").read_bytes() == bytes(3_000_000)


def test_a_folder_of_links_arrives_as_the_files_they_mean(
    open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_text("weights")
    (tmp_path / "snapshot" / "deep").mkdir(parents=True)
    (tmp_path / "snapshot" / "deep" / "model").symlink_to(tmp_path / "blobs" / "abc")
    session.put(tmp_path / "snapshot", "base")
    assert (workspace(session) / "base/deep/model").read_text() == "weights"
    assert not (workspace(session) / "base/deep/model").is_symlink()
    assert sorted(path.name for path in (workspace(session) / "base/deep").iterdir()) == ["model"]


def test_a_folder_that_contains_itself_is_refused(
    open_session: OpenSession, tmp_path: Path
) -> None:
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "again").symlink_to(tmp_path / "loop")
    with pytest.raises(SandboxError, match="contains itself by a link"):
        open_session().put(tmp_path / "loop", "here")


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/etc/out", "a\0b"])
def test_no_path_leaves_the_workspace(session: Session, tmp_path: Path, path: str) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    with pytest.raises(SandboxError, match="leaves the workspace; expected a path relative to it"):
        session.put(source, path)
    with pytest.raises(SandboxError, match="leaves the workspace"):
        session.get(path, tmp_path / "target")
    with pytest.raises(SandboxError, match="leaves the workspace"):
        session.start(Command(argv=("true",), files={path: b"x"}))


def test_no_link_leads_out_of_the_workspace(open_session: OpenSession, tmp_path: Path) -> None:
    session = open_session()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    shell(session, f"ln -s {outside} way; ln -s {outside}/secret file; mkdir real")
    source = tmp_path / "source"
    source.write_text("new")
    with pytest.raises(SandboxError, match="'way' in the workspace is a link or no folder"):
        session.put(source, "way/secret")
    with pytest.raises(SandboxError, match="'way' in the workspace is a link or no folder"):
        session.get("way/secret", tmp_path / "target")
    with pytest.raises(SandboxError, match="is a link or special file, which is not followed"):
        session.get("file", tmp_path / "target")
    session.put(source, "file")
    assert (outside / "secret").read_text() == "secret"
    assert (workspace(session) / "file").read_text() == "new"
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_file_put_over_a_folder_is_refused_and_leaves_nothing(
    open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session()
    shell(session, "mkdir -p folder/full")
    source = tmp_path / "source"
    source.write_text("x")
    with pytest.raises(SandboxError, match="cannot copy to or from the workspace of session"):
        session.put(source, "folder")
    with pytest.raises(SandboxError, match="a file cannot take the workspace's place"):
        session.put(source, ".")
    assert [path.name for path in workspace(session).iterdir()] == ["folder"]


def test_missing_sources_are_named(session: Session, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to put into the sandbox at"):
        session.put(tmp_path / "absent", "here")
    with pytest.raises(FileNotFoundError, match="no such file or folder in the workspace"):
        session.get("absent", tmp_path / "target")
    with pytest.raises(FileNotFoundError, match="no such file or folder in the workspace"):
        session.get("absent/below", tmp_path / "target")


def test_too_deep_a_nesting_is_refused(open_session: OpenSession, tmp_path: Path) -> None:
    session = open_session()
    shell(session, "mkdir -p deep/$(printf 'd/%.0s' $(seq 200))")
    with pytest.raises(SandboxError, match="nests deeper than 128 folders"):
        session.get("deep", tmp_path / "got")
