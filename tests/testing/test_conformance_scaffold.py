"""Scaffolds that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import itertools
import os
import subprocess
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.api import Command, Scaffold, ScaffoldSpec, Trace, TraceEvent, Usage
from ptb_core.testing import ScaffoldConformance
from tests.testing.running import broken, checked

SPEC = ScaffoldSpec(name="echo", description="Says hello.", version="1", runs_outside_llm=False)
OK = Command(argv=("true",))


class Echo(Scaffold):
    """A right scaffold, of which the wrong ones differ in one thing."""

    def start(self, cell):
        return Command(argv=("sh", "-c", 'echo "$0"', cell.prompt), env={"HOME_OF": cell.home})

    def read_trace(self, stream):
        return Trace(
            events=tuple(
                TraceEvent(kind="output", text=b.decode("utf-8", "replace")) for b in stream
            )
        )


def wrong(spec: ScaffoldSpec = SPEC, **methods: Callable[..., object]) -> Scaffold:
    return type("Wrong", (Echo,), methods)(spec)


def starting(**fields: object) -> Scaffold:
    return wrong(start=lambda self, cell: replace(OK, **fields))


def reading(**fields: object) -> Scaffold:
    return wrong(read_trace=lambda self, stream: Trace(**({"events": ()} | fields)))


def started_by_itself(self, cell):
    subprocess.run(["true"], check=True)
    return OK


def written_by_itself(self, cell):
    Path(os.devnull).open("w").close()
    return OK


def decoded_strictly(self, stream):
    return Trace(events=tuple(TraceEvent(kind="output", text=line.decode()) for line in stream))


def key_of_the_host(self, cell):
    return replace(OK, env={"KEY": os.environ.get("OPENAI_API_KEY", "")})


counter = itertools.count()

CASES = {
    "no command": (
        wrong(start=lambda self, cell: ["true"]),
        "test_start_returns_a_command",
        "start() must return a Command; it returned ['true']",
    ),
    "no program": (
        starting(argv=()),
        "test_start_returns_a_command",
        "start() must name a program; its argv is ()",
    ),
    "a number as argument": (
        starting(argv=("sleep", 5)),
        "test_start_returns_a_command",
        "start() must use texts without NUL only; it uses [5]",
    ),
    "a command that varies": (
        wrong(start=lambda self, cell: Command(argv=("echo", str(next(counter))))),
        "test_start_is_pure",
        "start() must give the same command for the same cell every time",
    ),
    "a program started": (
        wrong(start=started_by_itself),
        "test_start_starts_nothing_itself",
        "start() must only return a command; it did subprocess.Popen 'true'",
    ),
    "a file written": (
        wrong(start=written_by_itself),
        "test_start_writes_nothing",
        "start() must write no file; it did open for writing '/dev/null'",
    ),
    "a key in the environment": (
        wrong(start=key_of_the_host),
        "test_start_takes_no_secret_from_the_environment",
        "start() must hand no key of the host's environment to untrusted code; the variable KEY "
        "held one",
    ),
    "the host's environment": (
        wrong(start=lambda self, cell: replace(OK, env=dict(os.environ))),
        "test_start_takes_no_secret_from_the_environment",
        "start() must hand no key of the host's environment to untrusted code; the variable ",
    ),
    "a path of the host": (
        starting(env={"PYTHONPATH": "/home/me/lib:/usr/lib"}),
        "test_its_environment_names_no_path_of_the_host",
        "the environment of the agent must name no path of the host; PYTHONPATH names /home/me/lib",
    ),
    "another working directory": (
        starting(cwd="/etc"),
        "test_its_working_directory_lies_in_the_workspace",
        "the working directory must lie in the workspace; it is '/etc'",
    ),
    "a working directory above": (
        starting(cwd="../.."),
        "test_its_working_directory_lies_in_the_workspace",
        "the working directory must lie in the workspace; it is '../..'",
    ),
    "a file above": (
        starting(files={"../x": b""}),
        "test_its_files_lie_in_the_workspace",
        "files of the command must lie below the workspace; '../x' does not",
    ),
    "a file of text": (
        starting(files={"x": "text"}),
        "test_its_files_lie_in_the_workspace",
        "the file 'x' must hold bytes",
    ),
    "a time limit": (
        starting(timeout_s=5),
        "test_it_sets_no_time_limit_of_its_own",
        "the agent's command must have no timeout_s; it has 5",
    ),
    "one command to install": (
        wrong(install=lambda self: OK),
        "test_install_returns_commands",
        "install() must return a tuple; it returned Command(",
    ),
    "a resumption that is not declared": (
        wrong(resume=lambda self, cell, session_id, prompt: OK),
        "test_resume_keeps_what_its_facts_say",
        "resume() must return None as can_resume is false; it returned Command(",
    ),
    "a declared resumption that is none": (
        wrong(replace(SPEC, can_resume=True)),
        "test_resume_keeps_what_its_facts_say",
        "resume() must return a Command; it returned None",
    ),
    "a resumption of no session": (
        wrong(replace(SPEC, can_resume=True), resume=lambda self, cell, session_id, prompt: OK),
        "test_resume_keeps_what_its_facts_say",
        "resume() must name the session that is to be continued; its command does not",
    ),
    "output read strictly": (
        wrong(read_trace=decoded_strictly),
        "test_no_output_makes_read_trace_raise",
        "read_trace() must not raise on the line of every byte; it raised UnicodeDecodeError: ",
    ),
    "a trace that is a list": (
        wrong(read_trace=lambda self, stream: list(stream)),
        "test_what_is_read_from_any_output_is_a_well_formed_trace",
        "read_trace() must return a Trace; for the line of nothing it returned [b'']",
    ),
    "an event of an unknown kind": (
        reading(events=(TraceEvent(kind="shout", text="!"),)),
        "test_what_is_read_from_any_output_is_a_well_formed_trace",
        "events must be TraceEvents of the known kinds; the line of nothing gave TraceEvent(",
    ),
    "negative tokens": (
        reading(usage=Usage(input_tokens=-5)),
        "test_what_is_read_from_any_output_is_a_well_formed_trace",
        "usage must be 0 or more, or None; the line of nothing gave input_tokens = -5",
    ),
    "an infinite cost": (
        reading(usage=Usage(cost_usd=float("inf"))),
        "test_what_is_read_from_any_output_is_a_well_formed_trace",
        "usage must be 0 or more, or None; the line of nothing gave cost_usd = inf",
    ),
    "an unknown outcome": (
        reading(outcome="bored"),
        "test_what_is_read_from_any_output_is_a_well_formed_trace",
        "the outcome must be one of the known words or None; the line of nothing gave 'bored'",
    ),
    "a trace that is no JSON": (
        reading(events=(TraceEvent(kind="other", text="", data=object()),)),
        "test_traces_are_json",
        "the trace of the line of nothing must be what JSON can hold; it raised TypeError: ",
    ),
    "a trace that varies": (
        wrong(read_trace=lambda self, stream: Trace(events=(), session_id=str(next(counter)))),
        "test_reading_the_same_output_twice_gives_the_same_trace",
        "read_trace() must give the same trace for the same output",
    ),
}


@pytest.mark.parametrize(("scaffold", "method", "sentence"), CASES.values(), ids=CASES)
def test_a_wrong_scaffold_fails_with_a_sentence(
    scaffold: Scaffold, method: str, sentence: str
) -> None:
    assert broken(ScaffoldConformance, scaffold, method).startswith(sentence)


@pytest.mark.parametrize("method", sorted({method for _, method, _ in CASES.values()}))
def test_a_right_scaffold_passes_the_same_checks(method: str) -> None:
    checked(ScaffoldConformance, Echo(SPEC), method)


def needs_whole_lines(self, stream):
    lines = list(stream)
    if lines and not lines[-1].endswith(b"\n"):
        raise ValueError("the last line broke off")
    return Trace(events=(TraceEvent(kind="output", text=str(len(lines))),))


def test_a_recorded_output_that_breaks_off_must_be_read() -> None:
    sentence = broken(
        ScaffoldConformance,
        wrong(read_trace=needs_whole_lines),
        "test_truncated_outputs_are_read",
        recorded=(b"hello\nworld\n",),
    )
    assert sentence == (
        "read_trace() must not raise on recorded output 1, cut after 1 bytes; it raised "
        "ValueError: the last line broke off"
    )


def test_a_recorded_output_must_give_events() -> None:
    sentence = broken(
        ScaffoldConformance,
        reading(events=()),
        "test_recorded_outputs_are_read",
        recorded=(b"hello\n",),
    )
    assert sentence == "recorded output 1 must give events; it gave none"


def test_without_recorded_outputs_their_checks_are_skipped_with_what_to_do() -> None:
    with pytest.raises(unittest.SkipTest) as skipped:
        checked(ScaffoldConformance, Echo(SPEC), "test_truncated_outputs_are_read")
    assert str(skipped.value) == ("no recorded output is given: set `recorded` in a test class")
