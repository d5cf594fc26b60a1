"""What every scaffold promises: commands as data, secrets left alone, any output readable."""

from __future__ import annotations

import math
import os
import re
import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import msgspec

from ptb_core.interfaces import CellContext, Scaffold
from ptb_core.sandboxing import Command
from ptb_core.specs import JsonValue
from ptb_core.testing.component import ComponentConformance
from ptb_core.testing.expectation import expect, unraised
from ptb_core.testing.hostile import hostile_streams
from ptb_core.testing.material import cell_context, default_settings
from ptb_core.testing.watching import watched
from ptb_core.traces import OutcomeKind, Trace, TraceEvent

SECRET = "sk-not-a-real-key-0123456789"
"""Put into this process's environment as a key of every provider; must come out nowhere."""

SECRET_VARIABLES = (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY",
    "OPENROUTER_API_KEY", "GITHUB_TOKEN", "SECRET_OF_THE_HOST",
)  # fmt: skip

_EVENT_KINDS = {"message", "thinking", "tool-call", "tool-result", "output", "error", "other"}
_ABSOLUTE = re.compile(r"(?<![\w.:/~$-])/[^\s:;,'\"=()]+")


class ScaffoldConformance(ComponentConformance[Scaffold]):
    """Checks of a scaffold.

    Attributes:
        settings: What a plan would set; merged over the declared defaults. Required settings
            that are missing are made up: a small Python file for a path.
        recorded: Real outputs of the program, each as bytes; they are also read truncated.
        program_folders: Folders of an image that its environment may name.
    """

    kind = "scaffold"
    settings: Mapping[str, JsonValue] = {}
    recorded: Sequence[bytes] = ()
    program_folders: tuple[str, ...] = ("/usr", "/bin", "/opt", "/tmp", "/dev/null")

    def context(self) -> CellContext:
        """Return the cell that commands are made for."""
        declared = default_settings(self.component.spec.settings, self.tmp)
        gateway = "http://127.0.0.1:8080" if self.component.spec.runs_outside_llm else None
        return cell_context(declared | dict(self.settings), gateway_url=gateway)

    # Commands -----------------------------------------------------------------------------

    def test_start_returns_a_command(self) -> None:
        """``start()`` returns a ``Command`` whose argv is a tuple of texts without NUL."""
        self._expect_command(self._start(), "start()")

    def test_start_is_pure(self) -> None:
        """Equal cells give equal commands."""
        context = self.context()
        first, second = self.component.start(context), self.component.start(context)
        expect(first == second, "start() must give the same command for the same cell every time")

    def test_start_starts_nothing_itself(self) -> None:
        """``start()`` runs no program and opens no connection: core runs the command."""
        context = self.context()
        _, done = watched(lambda: self.component.start(context))
        expect(not done, f"start() must only return a command; it did {'; '.join(map(str, done))}")

    def test_start_writes_nothing(self) -> None:
        """``start()`` writes no file: files of the command are laid by core."""
        context = self.context()
        _, done = watched(lambda: self.component.start(context), files=True)
        expect(not done, f"start() must write no file; it did {'; '.join(map(str, done))}")

    def test_start_takes_no_secret_from_the_environment(self) -> None:
        """No key of the host's environment is in the command."""
        command = self._with_secrets(lambda: self.component.start(self.context()))
        self._expect_no_secret(command, "start()")

    def test_its_environment_names_no_path_of_the_host(self) -> None:
        """Paths in the environment lie in the given places or in an image's usual folders."""
        context = self.context()
        given = (context.workspace, context.home, context.base_model, *self.program_folders)
        for name, value in self._start().env.items():
            for path in _ABSOLUTE.findall(value):
                expect(
                    any(path == place or path.startswith(place + "/") for place in given),
                    f"the environment of the agent must name no path of the host; {name} names "
                    f"{path}",
                )

    def test_its_working_directory_lies_in_the_workspace(self) -> None:
        """``cwd`` is relative without ``..``, or below the workspace."""
        context, cwd = self.context(), self._start().cwd
        below = cwd == context.workspace or cwd.startswith(context.workspace + "/")
        expect(
            (below or not cwd.startswith("/")) and ".." not in cwd.split("/"),
            f"the working directory must lie in the workspace; it is {cwd!r}",
        )

    def test_its_files_lie_in_the_workspace(self) -> None:
        """Files of the command have relative names without ``..`` and hold bytes."""
        for path, content in self._start().files.items():
            expect(
                path and not path.startswith("/") and ".." not in path.split("/"),
                f"files of the command must lie below the workspace; {path!r} does not",
            )
            expect(isinstance(content, bytes), f"the file {path!r} must hold bytes")

    def test_it_sets_no_time_limit_of_its_own(self) -> None:
        """The deadline is the guardian's; a limit of the command would end the agent early."""
        limit = self._start().timeout_s
        expect(limit is None, f"the agent's command must have no timeout_s; it has {limit}")

    def test_install_returns_commands(self) -> None:
        """``install()`` returns a tuple of commands, without secrets."""
        commands: object = self._with_secrets(self.component.install)
        expect(
            isinstance(commands, tuple),
            f"install() must return a tuple; it returned {commands!r:.80}",
        )
        assert isinstance(commands, tuple)
        for command in commands:
            self._expect_command(command, "install()")
            self._expect_no_secret(command, "install()")

    def test_resume_keeps_what_its_facts_say(self) -> None:
        """``resume()`` returns a command when ``can_resume`` is true, None when it is not."""
        found: object = self.component.resume(self.context(), "session-1", "go on")
        if not self.component.spec.can_resume:
            expect(
                found is None,
                f"resume() must return None as can_resume is false; it returned {found!r:.80}",
            )
            return
        self._expect_command(found, "resume()")
        assert isinstance(found, Command)
        words = repr((found.argv, found.stdin, dict(found.env), dict(found.files)))
        expect(
            "session-1" in words,
            "resume() must name the session that is to be continued; its command does not",
        )

    # Traces -------------------------------------------------------------------------------

    def test_no_output_makes_read_trace_raise(self) -> None:
        """``read_trace()`` reads any bytes, structured or not."""
        for name, stream in hostile_streams().items():
            unraised(
                f"read_trace() must not raise on {name}",
                lambda stream=stream: self.component.read_trace(iter(stream)),  # type: ignore[misc]
            )

    def test_what_is_read_from_any_output_is_a_well_formed_trace(self) -> None:
        """Events are of the known kinds, numbers are 0 or more, the outcome is a known word."""
        for name, stream in hostile_streams().items():
            self._expect_trace(self.component.read_trace(iter(stream)), name)

    def test_traces_are_json(self) -> None:
        """A trace is what JSON can hold, as records keep it."""
        from ptb_core.json_codec import encodable

        for name, stream in hostile_streams().items():
            trace = self.component.read_trace(iter(stream))
            unraised(
                f"the trace of {name} must be what JSON can hold",
                lambda trace=trace: msgspec.json.encode(  # type: ignore[misc]
                    encodable(msgspec.to_builtins(trace))
                ),
            )

    def test_reading_the_same_output_twice_gives_the_same_trace(self) -> None:
        """``read_trace()`` is pure."""
        for stream in (*map(_lines, self.recorded), (b"hello\n", b"world\n")):
            first = self.component.read_trace(iter(stream))
            second = self.component.read_trace(iter(stream))
            expect(first == second, "read_trace() must give the same trace for the same output")

    def test_recorded_outputs_are_read(self) -> None:
        """A real output gives events."""
        for number, stream in enumerate(self._recorded(), start=1):
            trace = self.component.read_trace(iter(stream))
            self._expect_trace(trace, f"recorded output {number}")
            expect(trace.events, f"recorded output {number} must give events; it gave none")

    def test_truncated_outputs_are_read(self) -> None:
        """A real output that breaks off anywhere gives a well-formed trace."""
        for number, content in enumerate(self._recorded_bytes(), start=1):
            for cut in sorted({len(content) * part // 17 for part in range(17)}):
                name = f"recorded output {number}, cut after {cut} bytes"
                lines = _lines(content[:cut])
                trace = unraised(
                    f"read_trace() must not raise on {name}",
                    lambda lines=lines: self.component.read_trace(iter(lines)),  # type: ignore[misc]
                )
                self._expect_trace(trace, name)

    # Parts --------------------------------------------------------------------------------

    def _start(self) -> Command:
        found: object = self.component.start(self.context())
        expect(
            isinstance(found, Command),
            f"start() must return a Command; it returned {found!r:.80}",
        )
        assert isinstance(found, Command)
        return found

    def _expect_command(self, found: object, method: str) -> None:
        expect(
            isinstance(found, Command), f"{method} must return a Command; it returned {found!r:.80}"
        )
        assert isinstance(found, Command)
        words = (*found.argv, *found.env, *found.env.values())
        expect(
            isinstance(found.argv, tuple) and len(found.argv) > 0 and found.argv[0],
            f"{method} must name a program; its argv is {found.argv!r:.80}",
        )
        wrong = [word for word in words if not isinstance(word, str) or "\0" in word]
        expect(not wrong, f"{method} must use texts without NUL only; it uses {wrong[:1]!r:.80}")

    def _with_secrets(self, action: Callable[[], object]) -> object:
        before = {name: os.environ.get(name) for name in SECRET_VARIABLES}
        os.environ.update(dict.fromkeys(SECRET_VARIABLES, SECRET))
        try:
            return action()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _expect_no_secret(self, command: object, method: str) -> None:
        assert isinstance(command, Command)
        places = {
            "its arguments": repr(command.argv),
            "its standard input": repr(command.stdin),
            "its files": repr(dict(command.files)),
            **{f"the variable {name}": value for name, value in command.env.items()},
        }
        found = [place for place, text in places.items() if SECRET in text]
        expect(
            not found,
            f"{method} must hand no key of the host's environment to untrusted code; "
            f"{' and '.join(found)} held one",
        )

    def _expect_trace(self, found: object, name: str) -> None:
        expect(
            isinstance(found, Trace),
            f"read_trace() must return a Trace; for {name} it returned {found!r:.80}",
        )
        assert isinstance(found, Trace)
        for event in found.events:
            expect(
                isinstance(event, TraceEvent) and event.kind in _EVENT_KINDS,
                f"events must be TraceEvents of the known kinds; {name} gave {event!r:.80}",
            )
        for field in _USAGE_FIELDS:
            number = getattr(found.usage, field)
            expect(
                number is None or (math.isfinite(number) and number >= 0),
                f"usage must be 0 or more, or None; {name} gave {field} = {number!r}",
            )
        expect(
            found.outcome is None or found.outcome in get_args(OutcomeKind),
            f"the outcome must be one of the known words or None; {name} gave {found.outcome!r}",
        )
        expect(
            found.session_id is None or isinstance(found.session_id, str),
            f"the session id must be a text or None; {name} gave {found.session_id!r:.80}",
        )

    def _recorded_bytes(self) -> Sequence[bytes]:
        if not self.recorded:
            raise unittest.SkipTest("no recorded output is given: set `recorded` in a test class")
        return self.recorded

    def _recorded(self) -> list[tuple[bytes, ...]]:
        return [_lines(content) for content in self._recorded_bytes()]


_USAGE_FIELDS = (
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
)


def _lines(content: bytes) -> tuple[bytes, ...]:
    return tuple(content.splitlines(keepends=True))
