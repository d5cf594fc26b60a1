"""A stream beyond its bound keeps its beginning and its end, and says what is left out."""

import json
import os
from pathlib import Path

import pytest
from sandbox_running import OpenSession, Run, eventually, python

from ptb_core.api import SandboxError
from ptb_core.data import data_dir
from ptb_plugins.sandboxes.local.guard import pump as pump_module
from ptb_plugins.sandboxes.local.guard.pump import END_BYTES, Pump
from ptb_plugins.sandboxes.local.opening import OUTPUT_MIB

MIB = 2**20


class Stream:
    """A pump whose pipe the test writes into."""

    def __init__(self, target: Path, bound: int | None) -> None:
        self.target = target
        self.pump = Pump(target, bound)

    def say(self, content: bytes) -> None:
        while content:
            written = os.write(self.pump.write_end, content[: 64 * 1024])
            content = content[written:]
            self.pump.move()

    def end(self) -> bytes:
        os.close(self.pump.write_end)
        self.pump.drain()
        self.pump.close()
        return self.target.read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "stdout"


@pytest.fixture(params=["splice", "no splice"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no splice":

        def refuse(*_: object, **__: object) -> int:
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(pump_module.os, "splice", refuse)


@pytest.mark.usefixtures("_ways")
@pytest.mark.parametrize("size", [0, 99, 100])
def test_a_stream_within_its_bound_is_whole(target: Path, size: int) -> None:
    stream = Stream(target, 100)
    stream.say(b"x" * size)
    assert stream.end() == b"x" * size
    assert stream.pump.omitted_bytes == 0


@pytest.mark.usefixtures("_ways")
def test_an_end_that_is_short_enough_is_whole_too(target: Path) -> None:
    stream = Stream(target, 100)
    content = os.urandom(100 + END_BYTES)
    stream.say(content)
    assert stream.end() == content
    assert stream.pump.omitted_bytes == 0


@pytest.mark.usefixtures("_ways")
def test_beginning_and_end_are_kept_and_what_is_between_is_counted(target: Path) -> None:
    stream = Stream(target, 100)
    content = os.urandom(100 + 777 + END_BYTES)
    stream.say(content)
    line = b"\nsandbox: 777 bytes of output are left out here\n"
    assert stream.end() == content[:100] + line + content[-END_BYTES:]
    assert stream.pump.omitted_bytes == 777


def test_without_a_bound_all_is_kept(target: Path) -> None:
    stream = Stream(target, None)
    content = os.urandom(2 * END_BYTES)
    stream.say(content)
    assert stream.end() == content


def test_the_file_never_grows_beyond_the_bound_while_the_stream_goes_on(target: Path) -> None:
    stream = Stream(target, 100)
    stream.say(b"x" * 3 * END_BYTES)
    assert target.stat().st_size == 100
    assert len(stream.pump._end) == END_BYTES
    stream.end()


def test_the_guardians_own_word_stands_behind_the_end(target: Path) -> None:
    stream = Stream(target, 100)
    stream.say(b"x" * 150)
    stream.pump.add("sandbox: killed\n")
    assert stream.end() == b"x" * 150 + b"sandbox: killed\n"


def test_what_comes_after_the_end_was_written_is_left_out_and_counted(target: Path) -> None:
    stream = Stream(target, 100)
    stream.say(b"x" * 150)
    stream.pump.conclude()
    stream.say(b"y" * 30)
    assert stream.end() == b"x" * 150
    assert stream.pump.omitted_bytes == 30


def test_a_conclusion_before_the_bound_is_reached_ends_nothing(target: Path) -> None:
    """A process that outlives its command may still write within the bound."""
    stream = Stream(target, 100)
    stream.say(b"x" * 50)
    stream.pump.conclude()
    stream.say(b"y" * 80)
    assert stream.end() == b"x" * 50 + b"y" * 80


def test_a_talkative_command_cannot_fill_the_disk(
    open_session: OpenSession, isolation: str
) -> None:
    session = open_session(settings={"isolation": isolation, "output_mib": 1})
    code = (
        "import sys\nfor n in range(1500000): print(f'{n:08}')\nprint('no more', file=sys.stderr)"
    )
    run = Run(session, python(code), timeout_s=60)
    whole = 1_500_000 * 9
    left_out = whole - MIB - END_BYTES
    assert run.exit_code == 0
    assert run.status.omitted_output_bytes == left_out
    line = f"\nsandbox: {left_out} bytes of output are left out here\n".encode()
    assert len(run.stdout) == MIB + len(line) + END_BYTES
    assert run.stdout.startswith(b"00000000\n00000001\n")
    assert run.stdout[MIB : MIB + len(line)] == line
    assert run.stdout.endswith(b"01499998\n01499999\n")
    assert run.stderr == "no more\n"


def test_the_end_is_kept_when_the_session_is_killed(
    open_session: OpenSession, isolation: str
) -> None:
    session = open_session(settings={"isolation": isolation, "output_mib": 1})
    code = (
        "import pathlib, time\nprint('x' * 2_000_000 + 'the end', flush=True)\n"
        "pathlib.Path('said').touch()\ntime.sleep(600)"
    )
    process = session.start(python(code))
    eventually(lambda: (Path(session.inside("workspace")) / "said").exists())
    session.freeze()
    session.kill()
    assert session.logs(process).endswith(b"the end\n")


def test_a_bound_below_nothing_is_refused(open_session: OpenSession, isolation: str) -> None:
    with pytest.raises(SandboxError, match=r"its setting output_mib is -1; expected 0 or more$"):
        open_session(settings={"isolation": isolation, "output_mib": -1})


def test_the_bound_without_a_setting_is_the_manifests() -> None:
    manifest = json.loads((data_dir() / "registry/sandboxes/local.json").read_bytes())
    (setting,) = [s for s in manifest["settings"] if s["name"] == "output_mib"]
    assert setting["default"] == OUTPUT_MIB
