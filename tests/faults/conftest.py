"""Disks that are really full or read-only, and cells whose stages a test gives."""

from __future__ import annotations

import contextlib
import errno
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ptb_core import supervisor
from ptb_core.journal import read_events
from ptb_core.run_folder import CellFolder, RunFolder
from ptb_core.stages.context import Judged, StageContext
from ptb_core.supervisor import Stage, supervise

from ..core.small_run import NULL, small_run

DISK_BYTES = 1 << 20
FREE_FOR_ALL = "ballast"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, mounted for the test."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "ptb-test", place)
    if mounted.returncode != 0:
        pytest.skip(
            "needs the right to mount a small file system: run as root, or "
            f"`unshare -Urm python -m pytest` ({mounted.stderr.strip()})"
        )
    yield place
    _run("umount", "-l", place)


def fill(disk: Path) -> None:
    """Take all room that is left on a disk; :func:`free` gives it back."""
    with (disk / FREE_FOR_ALL).open("ab", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"\0" * 4096)


def free(disk: Path) -> None:
    """Give back what :func:`fill` took."""
    (disk / FREE_FOR_ALL).unlink()


def set_writable(disk: Path, writable: bool) -> None:
    """Mount a disk anew, writable or read-only."""
    done = _run("mount", "-o", f"remount,{'rw' if writable else 'ro'}", disk)
    assert done.returncode == 0, done.stderr


def _run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, errno.ENOENT, "", f"there is no {argv[0]}")


StageBody = Callable[[StageContext], object]


@dataclass(kw_only=True)
class Supervised:
    """One cell of a real run folder, supervised with stages that the test gives."""

    run: RunFolder
    monkeypatch: pytest.MonkeyPatch
    cell: str = NULL
    calls: list[str] = field(default_factory=list)

    @property
    def folder(self) -> CellFolder:
        return self.run.cell(self.cell)

    def supervise(self, **stages: StageBody) -> None:
        """Run the cell's supervisor; each stage may fail once."""
        made = tuple(
            Stage(name=name, run=self._counted(name, body), attempts=2)
            for name, body in stages.items()
        )
        self.monkeypatch.setattr(supervisor, "STAGES", made)
        supervise(self.run, self.cell)

    def events(self) -> list[tuple[str, str, int]]:
        events = read_events(self.folder.journal)
        return [(e.event, e.stage, e.attempt) for e in events if e.event != "claimed"]

    def _counted(self, name: str, body: StageBody) -> StageBody:
        def counted(context: StageContext) -> object:
            self.calls.append(f"{name}-{context.attempt}")
            return body(context)

        return counted


def done(_context: StageContext) -> Judged:
    """The body of a stage that just ends well."""
    return Judged(outcome="clean", verdicts=())


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the signal handlers back that a supervisor sets for its process."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def on_disk(disk: Path, monkeypatch: pytest.MonkeyPatch, handlers: None) -> Supervised:
    """A cell whose run folder lies on the small disk."""
    return Supervised(run=small_run(disk), monkeypatch=monkeypatch)


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handlers: None) -> Supervised:
    """A cell whose run folder lies where there is room."""
    return Supervised(run=small_run(tmp_path), monkeypatch=monkeypatch)
