"""What the inside sees and reaches, as far as the isolation promises it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sandbox_running import OpenSession, Run, shell

from ptb_core.api import Command, Mount, Session


@pytest.fixture
def separated(isolation: str) -> None:
    """Skip where nothing is promised."""
    if isolation == "none":
        pytest.skip("isolation none separates nothing, and its facts say so")


def test_the_facts_say_how_little_is_isolated(session: Session, isolation: str) -> None:
    facts = session.facts()
    assert facts.isolation == isolation
    if isolation == "none":
        assert not facts.network_enforced
        assert facts.description.endswith(
            "anything the host's user can read, change or kill, the inside can too, its guardian"
            " included"
        )
    else:
        assert facts.network_enforced
        assert "bubblewrap hides all other processes" in facts.description
        assert "the network is cut; kernel, processors and memory are shared" in facts.description


def test_an_open_network_needs_no_enforcement(open_session: OpenSession) -> None:
    session = open_session(network="open")
    assert session.facts().network_enforced
    assert shell(session, "cat /etc/resolv.conf >/dev/null").exit_code == 0


@pytest.mark.usefixtures("separated")
def test_no_process_of_the_host_is_visible(session: Session) -> None:
    run = shell(session, "cat /proc/[0-9]*/comm")
    assert set(run.stdout.decode().split()) <= {"ptb-spawner", "ptb-shepherd", "sh", "cat"}


@pytest.mark.usefixtures("separated")
def test_process_one_can_be_neither_killed_nor_looked_into(session: Session) -> None:
    script = "kill -9 1; kill -STOP 1; cat /proc/1/environ /proc/1/mem >/dev/null; echo $?"
    run = shell(session, script)
    assert run.stdout == b"1\n"
    assert shell(session, "true").exit_code == 0


@pytest.mark.usefixtures("separated")
def test_there_are_no_privileges_inside(session: Session) -> None:
    run = shell(session, "grep CapEff /proc/self/status")
    assert run.stdout.split()[1] == b"0" * 16
    writable = (
        "for file in /proc/sys/kernel/* /proc/sysrq-trigger; do test ! -w $file || echo $file; done"
    )
    assert shell(session, writable).stdout == b""


@pytest.mark.usefixtures("separated")
def test_the_hosts_files_cannot_be_changed(session: Session, tmp_path: Path) -> None:
    run = shell(session, "touch /etc/new /usr/new /run/new; rm -f /etc/hostname; ls /etc/hostname")
    assert run.stderr.count("Read-only file system") >= 3
    assert run.stdout == b"/etc/hostname\n"
    shell(session, "echo hidden > /tmp/only-inside")
    assert not Path("/tmp/only-inside").exists()
    assert not (tmp_path / "only-inside").exists()


@pytest.mark.usefixtures("separated")
def test_the_control_folder_and_the_guardians_socket_are_out_of_sight(session: Session) -> None:
    control = session.handle.data["control"]
    runtime = session.socket("s")[0].parent.parent
    run = shell(session, f"ls {control}; ls {runtime}; ls /run")
    assert run.stdout == b"ptb\n"
    assert run.stderr.count("No such file or directory") == 2


@pytest.mark.usefixtures("separated")
def test_hidden_folders_are_empty_but_for_what_must_be_visible(
    open_session: OpenSession, tmp_path: Path
) -> None:
    vault = tmp_path / "vault"
    (vault / "deep").mkdir(parents=True)
    (vault / "answers").write_text("42")
    (vault / "data").mkdir()
    (vault / "data" / "train").write_text("1")
    (vault / "data" / "test").write_text("2")
    session = open_session(
        workspace=vault / "deep" / "work",
        mounts=(Mount(name="data", source=vault / "data"),),
        hidden=(vault, vault / "data" / "test", tmp_path / "absent"),
    )
    run = shell(session, f"ls {vault} {vault}/deep; cat {vault}/data/*; touch mine {vault}/other")
    assert run.stdout.decode().split() == [
        f"{vault}:",
        "data",
        "deep",
        f"{vault}/deep:",
        "work",
        "1",
    ]
    assert "Read-only file system" in run.stderr
    assert (vault / "deep" / "work" / "mine").exists()
    assert not (vault / "other").exists()


@pytest.mark.usefixtures("separated")
def test_the_interpreter_survives_the_hiding_of_its_surroundings(
    open_session: OpenSession,
) -> None:
    around = {Path(sys.prefix).parent, Path(sys.base_prefix).parent} - {Path("/")}
    session = open_session(hidden=tuple(around))
    run = Run(session, Command(argv=("python3", "-c", "import msgspec, ptb_core; print('works')")))
    assert run.stdout == b"works\n", run.stderr


@pytest.mark.usefixtures("separated")
def test_well_known_credentials_are_out_of_sight(
    open_session: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id").write_text("key")
    (tmp_path / ".netrc").write_text("token")
    home = SimpleNamespace(pw_dir=str(tmp_path))
    monkeypatch.setattr("pwd.getpwuid", lambda uid: home)
    session = open_session(mounts=(Mount(name="home-of-user", source=tmp_path),))
    run = shell(session, f"ls {tmp_path}/.ssh; cat {tmp_path}/.netrc")
    assert run.stdout == b""


def test_mounts_are_found_by_name_and_written_where_allowed(
    open_session: OpenSession, tmp_path: Path, isolation: str
) -> None:
    for name in ("fixed", "shared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    session = open_session(
        mounts=(
            Mount(name="fixed", source=tmp_path / "fixed"),
            Mount(name="shared", source=tmp_path / "shared", read_only=False),
            Mount(name="one", source=tmp_path / "fixed" / "file"),
        )
    )
    fixed, shared, one = (session.inside(name) for name in ("fixed", "shared", "one"))
    run = shell(session, f"cat {fixed}/file {shared}/file {one}; echo new > {shared}/new")
    assert run.stdout == b"fixedsharedfixed"
    assert (tmp_path / "shared" / "new").read_text() == "new\n"
    if isolation == "bwrap":
        run = shell(session, f"echo changed > {fixed}/file; echo changed > {one}")
        assert run.stderr.count("Read-only file system") == 2
        assert (tmp_path / "fixed" / "file").read_text() == "fixed"
    with pytest.raises(KeyError):
        session.inside("nothing")


def test_devices_are_named_to_programs_and_in_the_facts(open_session: OpenSession) -> None:
    session = open_session(devices=("0", "3"))
    run = shell(session, 'echo "$CUDA_VISIBLE_DEVICES"', env={"CUDA_VISIBLE_DEVICES": "7"})
    assert run.stdout == b"0,3\n"
    assert session.facts().devices == ("0", "3")


def test_packages_that_lie_outside_the_interpreters_folder_stay_visible(
    open_session: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "elsewhere" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "module.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(packages))
    assert shell(open_session(), f"cat {packages}/module.py").stdout == b"x = 1\n"
