"""``ptb check``: what it runs, prints and returns, and that nothing hangs or stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.testing import check as checking
from ptb_core.testing.check import run_checks, wanted_rows
from ptb_core.testing.suites import checks_of
from ptb_core.testing.watching import marked_processes

Install = Callable[..., None]

PLUGIN = """
import os, subprocess, sys, time
from ptb_core.api import *

class Echo(Scaffold):
    def start(self, cell):
        {start}
        return Command(argv=("echo", "hello"))

    def read_trace(self, stream):
        return Trace(events=tuple(TraceEvent(kind="output", text=repr(line)) for line in stream))

@hookimpl
def ptb_register_scaffolds():
    yield Echo(ScaffoldSpec(name="echo", description="Says hello.", version="1",
                            runs_outside_llm=False))
    {more}
"""
DESCRIBED = """
from ptb_core.api import *

@hookimpl
def ptb_register_tasks():
    yield TaskSpec(name="described", title="Described", description="Has no code.",
                   metric="accuracy", n_samples=1, max_tokens=1, data=())
"""
DEAF = "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN); time.sleep(600)"
DAEMON = (
    'subprocess.Popen(["setsid", "sh", "-c", "sleep 600 & sleep 600"],'
    ' env={"PTB_TEST_MARK": "MARK", "PATH": os.environ["PATH"]})'
)


def plugin(install: Install, start: str = "", more: str = "") -> None:
    install(
        "ptb-scaffold-echo",
        {"ptb_echo.py": PLUGIN.format(start=start, more=more)},
        "[ptb.v1]\necho = ptb_echo\n",
    )


FEW = {"test_its_facts_survive_json", "test_start_returns_a_command", "test_start_is_pure"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave three checks of every scaffold, where it does not matter which."""
    monkeypatch.setattr(
        checking, "checks_of", lambda suite: [c for c in checks_of(suite) if c.method in FEW]
    )


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    code = main(["check", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_a_right_component_passes_line_by_line(install, capsys):
    plugin(install)
    code, lines, _ = check(capsys, "echo")
    assert code == 0
    assert lines[0] == "scaffold echo  [ptb-scaffold-echo 1.0]"
    assert "  ok       start returns a command" in lines
    assert (
        "  skipped  truncated outputs are read: no recorded output is given: set `recorded` in a "
        "test class"
    ) in lines
    assert lines[-2] == "  ok       nothing is left running"
    assert lines[-1] == "28 checks: 26 ok, 0 failed, 2 skipped"


def test_a_distributions_name_means_all_that_it_brings(install, capsys, few):
    plugin(install, more='yield Echo(ScaffoldSpec(name="echo-two", description="Says it twice.",'
           ' version="1", runs_outside_llm=False))')  # fmt: skip
    code, lines, _ = check(capsys, "PTB_scaffold.echo")
    assert code == 0
    assert [line for line in lines if line.startswith("scaffold")] == [
        "scaffold echo  [ptb-scaffold-echo 1.0]",
        "scaffold echo-two  [ptb-scaffold-echo 1.0]",
    ]


def test_a_broken_promise_is_a_failed_line_and_exit_status_1(install, capsys, few):
    plugin(install, start='return Command(argv=("sleep", 5))')
    code, lines, _ = check(capsys, "echo")
    assert code == 1
    failed = [line for line in lines if line.startswith("  failed")]
    assert failed == [
        "  failed   start returns a command: start() must use texts without NUL only; it uses [5]"
    ]
    assert lines[-1] == "4 checks: 3 ok, 1 failed, 0 skipped"


def test_what_no_check_foresaw_says_where_it_was_raised(install, capsys, few):
    plugin(install, start='raise KeyError("token")')
    code, lines, _ = check(capsys, "echo")
    assert code == 1
    assert (
        "  failed   start is pure: it raised KeyError: 'token' (ptb_echo.py, line 7, in start)"
    ) in lines


def test_json_holds_every_check_with_its_promise(install, capsys, few):
    plugin(install)
    main(["check", "echo", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], printed["failed"], printed["skipped"]) == (4, 0, 0)
    one = next(c for c in printed["checks"] if c["check"] == "start is pure")
    assert one | {"seconds": 0} == {
        "kind": "scaffold",
        "name": "echo",
        "distribution": "ptb-scaffold-echo",
        "check": "start is pure",
        "promise": "Equal cells give equal commands.",
        "outcome": "ok",
        "reason": "",
        "seconds": 0,
    }


def test_an_unknown_name_is_a_usage_error_with_a_suggestion(capsys):
    code, lines, error = check(capsys, "trnsformers")
    assert (code, lines) == (2, [])
    assert error == (
        "ptb: there is no component or distribution 'trnsformers' (did you mean 'transformers'?); "
        "`ptb list` shows all components\n"
    )


def test_a_kind_narrows_what_a_name_means(capsys):
    code, _, error = check(capsys, "null", "--kind", "judge")
    assert code == 2
    assert error == (
        "ptb: there is no judge or distribution 'null'; `ptb list` shows all components\n"
    )


def test_a_component_that_this_machine_cannot_use_is_skipped_with_its_reason(install, capsys):
    install("ptb-task-described", {"ptb_described.py": DESCRIBED}, "[ptb.v1]\na = ptb_described\n")
    code, lines, _ = check(capsys, "described")
    assert code == 0
    assert lines[0] == "task described  [ptb-task-described 1.0]"
    assert lines[1].startswith(
        "  skipped  it is usable on this machine: described only: its evaluation code is not part"
    )


def test_a_component_that_cannot_be_loaded_fails_with_the_reason(install, capsys):
    install(
        "ptb-scaffold-echo",
        {"ptb_echo.py": PLUGIN.format(start="", more='yield "nothing"')},
        "[ptb.v1]\necho = ptb_echo\n",
    )
    code, lines, _ = check(capsys, "ptb-scaffold-echo")
    assert code == 1
    assert any(
        line.startswith("  failed   it can be loaded: its hook is disabled: ") for line in lines
    )
    assert lines[-1].endswith(" 0 ok, 2 failed, 0 skipped")


def test_everything_installed_is_checked_when_no_name_is_given(install):
    plugin(install)
    catalogue = load_catalogue()
    rows = wanted_rows(catalogue, (), None)
    assert rows == catalogue.rows()
    assert {row.kind for row in wanted_rows(catalogue, (), "judge")} == {"judge"}


def only(install: Install, limit_s: float, start: str) -> list[tuple[str, str, str]]:
    """Run a few checks of a scaffold that does what ``start`` says; return all but one."""
    plugin(install, start=start)
    catalogue = load_catalogue()
    (row,) = wanted_rows(catalogue, ("echo",), None)
    results = list(run_checks(catalogue, row, limit_s))
    return [
        (result.check, result.outcome, result.reason)
        for result in results
        if result.check != "start returns a command"
    ]


def test_a_check_that_hangs_is_ended_and_the_next_one_runs(install, few):
    found = only(install, 0.3, "time.sleep(600)")
    assert found == [
        ("its facts survive json", "ok", ""),
        (
            "start is pure",
            "failed",
            "it must end within 0.3 s; it was still running and was ended",
        ),
        ("nothing is left running", "ok", ""),
    ]


def test_a_check_that_hangs_and_heeds_no_alarm_is_killed_with_all_it_started(
    install, few, monkeypatch
):
    mark = os.urandom(8).hex()
    monkeypatch.setenv("PTB_CHECK_GRACE_S", "0.3")
    start = f"{DAEMON.replace('MARK', mark)}; {DEAF}"
    found = only(install, 0.3, start)
    assert found == [
        ("its facts survive json", "ok", ""),
        ("start is pure", "failed", "it must end within 0.3 s; it would not end and was killed"),
        ("nothing is left running", "ok", ""),
    ]
    assert marked_processes(mark) == []


def test_a_check_that_ends_the_whole_process_is_a_failure_and_the_next_one_runs(install, few):
    found = only(install, 10, 'print("bye", flush=True); os._exit(3)')
    assert found[1] == (
        "start is pure",
        "failed",
        "it must end with an outcome; it ended the whole process (status 3); its last words: bye",
    )


def test_what_is_left_running_is_reported_and_killed(install, few, monkeypatch):
    mark = os.urandom(8).hex()
    monkeypatch.setenv("PTB_CHECK_FAREWELL_S", "0.3")
    found = only(install, 10, DAEMON.replace("MARK", mark))
    assert [outcome for _, outcome, _ in found] == ["ok", "ok", "failed"]
    assert found[2][2].startswith("after the last check no process of it may live; ")
    assert " live: sh -c sleep 600 & sleep 600; sleep 600" in found[2][2]
    assert marked_processes(mark) == []


def test_an_interrupt_ends_what_is_being_checked(install, site: Path, tmp_path: Path):
    mark = os.urandom(8).hex()
    ready = tmp_path / "ready"
    plugin(install, start=f"{DAEMON.replace('MARK', mark)}; open({str(ready)!r}, 'w'); {DEAF}")
    running = subprocess.Popen(
        [sys.executable, "-m", "ptb_core.cli.main", "check", "echo"],
        env={**os.environ, "PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while not ready.exists():
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert error.decode() == "ptb: interrupted\n"
    assert marked_processes(mark) == []


def test_the_checks_are_not_imported_by_a_normal_start(tmp_path):
    code = (
        "import sys\nfrom ptb_core.cli.main import main\nmain(['list'])\n"
        "assert not [name for name in sys.modules if name.startswith('ptb_core.testing')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
