"""What is refused at the opening, and that nothing is left behind then."""

import os
import stat
from pathlib import Path

import pytest

from ptb_core.api import (
    Mount,
    Sandbox,
    SandboxElsewhereError,
    SandboxError,
    SandboxRequest,
    SessionHandle,
)
from ptb_plugins.sandboxes.local import isolation as isolation_module
from ptb_plugins.sandboxes.local import opening, runtime


def request_for(tmp_path: Path, **fields: object) -> SandboxRequest:
    given = {"name": tmp_path.name, "role": "solve", "root": tmp_path / "root", **fields}
    return SandboxRequest(**given)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"network": "gateway"}, "'gateway' needs a filtered network, which this sandbox does not"),
        ({"name": ""}, "its name must be 1 to 200 printable characters"),
        ({"name": "a\0b"}, "its name must be 1 to 200 printable characters"),
        ({"seal": ("../up",)}, "sealed path '../up' is not below the workspace"),
        ({"seal": ("/etc",)}, "sealed path '/etc' is not below the workspace"),
        (
            {"mounts": (Mount(name="home", source=Path("/")),)},
            "mount name 'home' is taken; names are unique",
        ),
        (
            {"mounts": (Mount(name="a", source=Path("/no/such")),)},
            "mount 'a': /no/such does not exist",
        ),
        (
            {"settings": {"isolation": "docker"}},
            "setting isolation is 'docker'; expected auto, bwrap or none",
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_words(
    sandbox: Sandbox, tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(SandboxError, match=words):
        sandbox.open(request_for(tmp_path, **fields))
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_empty_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "old").touch()
    with pytest.raises(SandboxError, match=r"root .* is not empty; every session needs"):
        sandbox.open(request_for(tmp_path))
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["old"]


def test_bwrap_is_refused_in_words_where_it_is_missing(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation_module, "bwrap_failure", lambda: "bubblewrap is not installed")
    with pytest.raises(
        SandboxError,
        match="'bwrap', but bubblewrap is not installed; install the package bubblewrap and allow",
    ):
        sandbox.open(request_for(tmp_path, settings={"isolation": "bwrap"}))
    session = sandbox.open(request_for(tmp_path))
    assert session.facts().isolation == "none"
    session.close()


def test_the_probe_tells_a_missing_bwrap_and_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = isolation_module.bwrap_failure.__wrapped__
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe() == "bubblewrap is not installed (no program bwrap on PATH)"
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'setting up uid map: Permission denied' >&2; exit 1")
    fake.chmod(0o755)
    assert probe() == "bubblewrap does not work here: setting up uid map: Permission denied"


def test_an_inside_that_does_not_start_is_reported_and_leaves_nothing(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opening._guardian_config

    def broken(*arguments: object) -> dict[str, object]:
        config = real(*arguments)  # type: ignore[arg-type]
        return {**config, "inside_argv": ["/bin/sh", "-c", "echo out of luck >&2; exit 3"]}

    monkeypatch.setattr(opening, "_guardian_config", broken)
    with pytest.raises(SandboxError, match="the inside did not start: out of luck"):
        sandbox.open(request_for(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_that_is_not_private_is_refused(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(
        SandboxError, match=r"with mode 755; expected this user's own with mode 700"
    ):
        runtime._check_private(tmp_path, tmp_path.stat())
    tmp_path.chmod(0o700)
    runtime._check_private(tmp_path, tmp_path.stat())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_session_of_another_host_is_refused_in_words(sandbox: Sandbox, tmp_path: Path) -> None:
    handle = SessionHandle(
        sandbox="local", name="far", data={"control": str(tmp_path), "host": "elsewhere"}
    )
    with pytest.raises(SandboxElsewhereError) as caught:
        sandbox.attach(handle)
    assert str(caught.value) == (
        "sandbox local: session 'far' was opened on host elsewhere and this is "
        f"{os.uname().nodename}; use `ptb run` there"
    )


def test_the_sandbox_is_usable_here_and_says_it_does_not_isolate(sandbox: Sandbox) -> None:
    assert sandbox.unusable_reason() is None
    assert sandbox.spec.name == "local"
    assert not sandbox.spec.isolates_untrusted_code
    assert sandbox.spec.settings[0].choices == ("auto", "bwrap", "none")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 41, "ü", "..", "a b"])
def test_a_socket_needs_a_plain_name(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    session = sandbox.open(request_for(tmp_path, settings={"isolation": "none"}))
    try:
        with pytest.raises(SandboxError, match="cannot name a socket; expected at most 40 ASCII"):
            session.socket(name)
    finally:
        session.close()
