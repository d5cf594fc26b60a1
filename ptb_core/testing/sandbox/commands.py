"""How commands start, end and speak."""

from __future__ import annotations

import hashlib
import os
import signal

from ptb_core.errors import SandboxError
from ptb_core.sandboxing import Command, ProcessHandle, Stream
from ptb_core.specs import JsonValue
from ptb_core.testing.expectation import expect, expect_error
from ptb_core.testing.material import python_command
from ptb_core.testing.sandbox.sessions import SandboxChecks, kill_name

SECRET = "not-for-the-inside"
SET_BY_SANDBOX = ("HOME", "PATH", "TMPDIR", "LANG", "USER")
_OWN_PREFIXES = ("PTB_", "CUDA_", "NVIDIA_")
_OF_THE_SHELL = frozenset({"PWD", "OLDPWD", "SHLVL", "_", "HOSTNAME"})
_LONGEST_ARGUMENT = 131_000
"""Just below what Linux takes for one argument (131,071 bytes)."""

_DIGEST = """
import hashlib, sys
print(hashlib.sha256("".join(sys.argv[1:]).encode("utf-8", "surrogateescape")).hexdigest())
"""
_BOTH_STREAMS = """
import sys
line = lambda number: b"%011d\\n" % number
block = 100_000
for start in range(0, 2_500_000, block):
    content = b"".join(map(line, range(start, start + block)))
    sys.stdout.buffer.write(content)
    sys.stderr.buffer.write(content)
"""


class CommandChecks(SandboxChecks):
    """A command's arguments, environment, streams and exit."""

    # Exit ---------------------------------------------------------------------------------

    def test_the_exit_code_arrives(self) -> None:
        """A command's exit status is its exit code, and the reason is ``exit``."""
        session = self.shared()
        for code in (0, 1, 7, 255):
            status = self.shell(session, f"exit {code}").status
            expect(
                (status.exit_code, status.reason) == (code, "exit"),
                f"a command that exits with {code} must be reported so, reason 'exit'; it was "
                f"reported with {status.exit_code}, reason {status.reason!r}",
            )

    def test_a_signal_that_kills_is_a_negative_exit_code(self) -> None:
        """A command that dies of a signal has minus its number as exit code."""
        session = self.shared()
        for number in (signal.SIGSEGV, signal.SIGTERM, signal.SIGKILL):
            found = self.shell(session, f"kill -{number} $$").status.exit_code
            expect(
                found == -number,
                f"a command that dies of {signal.Signals(number).name} must have exit code "
                f"{-number}; it has {kill_name(found)}",
            )

    def test_a_missing_program_exits_with_127_and_says_so(self) -> None:
        """A program that is not found is no error of start(): it exits with 127."""
        self._expect_unstartable("no-such-program-anywhere", 127)

    def test_a_file_that_is_no_program_exits_with_126_and_says_so(self) -> None:
        """A program that cannot be executed is no error of start(): it exits with 126."""
        self._expect_unstartable("./plain-file", 126, files={"plain-file": b"just text"})

    def test_start_and_end_are_told_by_the_wall_clock(self) -> None:
        """``started_unix_s`` and ``ended_unix_s`` are set, in order, once it has exited."""
        status = self.shell(self.shared(), "true").status
        start, end = status.started_unix_s, status.ended_unix_s
        expect(
            start is not None and end is not None and 1e9 < start <= end,
            f"start and end must be times of the wall clock, in order; they are {start} and {end}",
        )

    # Waiting ------------------------------------------------------------------------------

    def test_start_returns_while_the_command_runs(self) -> None:
        """start() does not wait for the command; poll() says running, without exit code."""
        session = self.shared()
        status = session.poll(session.start(Command(argv=("sleep", "60"))))
        found = (status.state, status.exit_code, status.reason)
        expect(
            found == ("running", None, None),
            f"a command that runs must be polled as running, without exit code; got {found}",
        )

    def test_wait_returns_when_its_time_is_over(self) -> None:
        """wait() with a time-out returns how a running command stands."""
        session = self.shared()
        status = session.wait(session.start(Command(argv=("sleep", "60"))), 0.05)
        expect(
            status.state == "running",
            f"wait() must return 'running' when its time is over; it returned {status.state!r}",
        )

    def test_many_commands_run_at_once(self) -> None:
        """Twenty commands run side by side, each with its own output."""
        session = self.shared()
        started = [session.start(Command(argv=("echo", str(number)))) for number in range(20)]
        outputs = []
        for process in started:
            session.wait(process, self.patience_s)
            outputs.append(session.logs(process).decode().strip())
        expect(
            outputs == [str(number) for number in range(20)],
            f"commands side by side must each have their own output; got {outputs}",
        )

    def test_handles_of_commands_are_unique(self) -> None:
        """No two commands of a session share an id."""
        session = self.shared()
        ids = {session.start(Command(argv=("true",))).id for _ in range(5)}
        expect(len(ids) == 5, f"5 commands must have 5 different ids; they have {sorted(ids)}")

    def test_a_handle_of_another_session_is_refused(self) -> None:
        """poll() of a command that this session did not start raises SandboxError."""
        first, second = self.shared(), self.open()
        process = first.start(Command(argv=("true",)))
        expect_error(
            SandboxError, "poll() of another session's command", lambda: second.poll(process)
        )
        nobody = ProcessHandle(session=first.handle.name, id="nonsense")
        expect_error(SandboxError, "poll() of an unknown command", lambda: first.poll(nobody))

    # Arguments ----------------------------------------------------------------------------

    def test_one_mebibyte_of_arguments_arrives_whole(self) -> None:
        """Sixteen arguments of 64 KiB arrive unchanged."""
        self._expect_arguments(*(f"{number:04d}" + "x" * 65_532 for number in range(16)))

    def test_one_argument_of_128_kib_arrives_whole(self) -> None:
        """The longest argument that Linux takes arrives unchanged."""
        self._expect_arguments("y" * _LONGEST_ARGUMENT)

    def test_an_argument_that_the_kernel_refuses_exits_with_126(self) -> None:
        """An argument over the kernel's limit is a program that cannot be executed."""
        done = self.run(self.shared(), Command(argv=("true", "x" * 200_000)))
        expect(
            done.status.exit_code == 126 and done.stderr.strip(),
            "an argument over the kernel's limit must exit with 126 and words; it exits with "
            f"{done.status.exit_code} and {done.stderr[:80]!r}",
        )

    def test_arguments_and_variables_are_utf8(self) -> None:
        """Characters beyond ASCII, quotes and line ends pass through arguments and variables."""
        text = "naïve 日本語 🦆\n\t'\"\\$HOME `id` *"
        argv = ("sh", "-c", 'printf %s "$1$WORD"', "sh", text)
        done = self.run(self.shared(), Command(argv=argv, env={"WORD": "ß\n"}))
        expect(
            done.stdout == (text + "ß\n").encode(),
            f"arguments and variables must arrive as UTF-8, unchanged; got {done.stdout!r:.200}",
        )

    def test_arguments_that_are_no_utf8_arrive_unchanged(self) -> None:
        """Bytes that are no UTF-8 pass through arguments in Python's own form for them."""
        argument = b"\xff\xfe".decode("utf-8", "surrogateescape")
        found = self.run(self.shared(), Command(argv=("printf", "%s", argument))).stdout
        expect(
            found == b"\xff\xfe", f"the argument b'\\xff\\xfe' must arrive so; got {found!r:.80}"
        )

    def test_a_nul_is_refused(self) -> None:
        """No kernel takes a NUL in an argument: start() raises SandboxError."""
        session = self.shared()
        expect_error(
            SandboxError,
            "start() of a command with a NUL in an argument",
            lambda: session.start(Command(argv=("echo", "a\0b"))),
        )

    def test_a_command_without_program_is_refused(self) -> None:
        """An empty argv raises SandboxError."""
        session = self.shared()
        expect_error(
            SandboxError,
            "start() of a command without program",
            lambda: session.start(Command(argv=())),
        )

    # Environment --------------------------------------------------------------------------

    def test_nothing_is_inherited_from_the_host(self) -> None:
        """No variable of the host's environment is visible inside."""
        os.environ["SECRET_OF_THE_HOST"] = SECRET
        self.after.callback(os.environ.pop, "SECRET_OF_THE_HOST")
        inside = self._environment()
        expect(
            "SECRET_OF_THE_HOST" not in inside and SECRET not in inside.values(),
            "no variable of the host may be visible inside; SECRET_OF_THE_HOST is",
        )

    def test_the_environment_is_what_was_given_and_the_five(self) -> None:
        """Besides what the command gives there are HOME, PATH, TMPDIR, LANG and USER."""
        inside = self._environment(MINE="1", OTHER="")
        missing = [name for name in (*SET_BY_SANDBOX, "MINE", "OTHER") if name not in inside]
        expect(not missing, f"the environment must hold {', '.join(missing)}; it does not")
        known = {*SET_BY_SANDBOX, "MINE", "OTHER", *_OF_THE_SHELL}
        extra = [n for n in inside if n not in known and not n.startswith(_OWN_PREFIXES)]
        expect(
            not extra,
            "the environment must hold what the command gives and the sandbox's own five; it "
            f"also holds {', '.join(sorted(extra))}",
        )

    def test_given_variables_have_their_values(self) -> None:
        """Variables of the command arrive with exactly their values."""
        inside = self._environment(EMPTY="", SPACES=" a  b ", SIGN="a=b")
        found = {name: inside.get(name) for name in ("EMPTY", "SPACES", "SIGN")}
        wanted = {"EMPTY": "", "SPACES": " a  b ", "SIGN": "a=b"}
        expect(found == wanted, f"variables must arrive with their values {wanted}; got {found}")

    def test_home_and_tmpdir_are_private_and_writable(self) -> None:
        """HOME and TMPDIR are the session's own folders and can be written."""
        session = self.shared()
        done = self.shell(
            session, 'touch "$HOME/a" "$TMPDIR/b" && printf "%s\n%s" "$HOME" "$TMPDIR"'
        )
        wanted = [session.inside("home"), session.inside("tmp")]
        expect(
            done.stdout.decode().splitlines() == wanted,
            f"HOME and TMPDIR must be {wanted} and writable; got {done.stdout!r:.200}, "
            f"{done.stderr[:80]!r}",
        )

    def test_two_commands_see_the_same_files(self) -> None:
        """Commands of one session share workspace, home and temporary folder."""
        session = self.shared()
        self.shell(session, 'for place in . "$HOME" "$TMPDIR"; do echo x > "$place/shared"; done')
        found = self.shell(session, 'cat shared "$HOME/shared" "$TMPDIR/shared"').stdout
        expect(found == b"x\nx\nx\n", f"commands of a session must share files; got {found!r}")

    # Working directory and files ----------------------------------------------------------

    def test_the_working_directory_is_the_workspace(self) -> None:
        """A command starts in the workspace, and a relative cwd starts from there."""
        session = self.shared()
        workspace = session.inside("workspace")
        for cwd, wanted in (
            (".", workspace),
            ("below", f"{workspace}/below"),
            (workspace, workspace),
        ):
            done = self.shell(session, "pwd -P", cwd=cwd, files={"below/file": b""})
            found = done.stdout.decode().strip()
            expect(found == wanted, f"with cwd {cwd!r} a command must run in {wanted}; got {found}")

    def test_files_of_a_command_are_there_when_it_starts(self) -> None:
        """``files`` are written below the workspace before the command starts."""
        files = {"a/b/c.bin": bytes(range(256)), "empty": b"", "ü ß": b"umlaut"}
        session = self.shared()
        self.shell(session, "true", files=files)
        found = {path: self.fetch(session, path) for path in files}
        expect(found == files, "files of a command must lie below the workspace, byte for byte")

    # Streams ------------------------------------------------------------------------------

    def test_both_streams_arrive_apart(self) -> None:
        """Standard output and standard error are kept apart."""
        done = self.shell(self.shared(), "echo out; echo err >&2")
        expect(
            (done.stdout, done.stderr) == (b"out\n", "err\n"),
            f"streams must be kept apart; got {done.stdout!r:.80} and {done.stderr!r:.80}",
        )

    def test_without_stdin_a_command_reads_nothing(self) -> None:
        """``stdin=None`` is ``/dev/null``, and so is empty input: reading ends at once."""
        session = self.shared()
        for given in (None, b""):
            found = self.run(session, Command(argv=("cat",), stdin=given)).stdout
            expect(found == b"", f"with stdin={given!r} a command must read nothing; got {found!r}")

    def test_stdin_arrives_byte_for_byte(self) -> None:
        """A megabyte of every byte reaches standard input unchanged and ends."""
        content = bytes(range(256)) * 4096
        found = self.run(self.shared(), Command(argv=("cat",), stdin=content)).stdout
        expect(
            found == content,
            f"{len(content)} bytes of standard input must arrive unchanged; {len(found)} came back",
        )

    def test_output_that_is_no_utf8_is_kept(self) -> None:
        """Output is bytes: nothing is decoded, replaced or cut at a NUL."""
        found = self.shell(self.shared(), r"printf '\377\376\000\200end'").stdout
        expect(
            found == b"\xff\xfe\0\x80end", f"output must be kept byte for byte; got {found!r:.80}"
        )

    def test_fifty_megabytes_of_both_streams_arrive_in_order(self) -> None:
        """30 MB on each stream at once arrive complete and in order."""
        session = self.shared()
        process = session.start(python_command(_BOTH_STREAMS))
        session.wait(process, self.patience_s)
        wanted = hashlib.sha256()
        for start in range(0, 2_500_000, 100_000):
            lines = (b"%011d\n" % number for number in range(start, start + 100_000))
            wanted.update(b"".join(lines))
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            found = session.logs(process, stream)
            expect(
                hashlib.sha256(found).hexdigest() == wanted.hexdigest(),
                f"30,000,000 bytes of {stream} must arrive complete and in order; "
                f"{len(found)} bytes arrived",
            )

    def test_logs_can_be_read_on_from_where_one_stopped(self) -> None:
        """``logs(since)`` returns what comes after, also while the command runs."""
        session = self.shared()
        process = session.start(Command(argv=("sh", "-c", "printf one; exec sleep 60")))
        self.eventually(
            lambda: session.logs(process) == b"one",
            "output must be readable while its command runs",
        )
        found = (session.logs(process, since=2), session.logs(process, since=3))
        expect(found == (b"e", b""), f"logs(since=2) and (since=3) must be b'e', b''; got {found}")

    def test_output_cannot_be_taken_back(self) -> None:
        """A command cannot truncate what it has written."""
        code = "import os\nos.write(1, b'said')\ntry:\n  os.ftruncate(1, 0)\nexcept OSError: pass"
        found = self.run(self.shared(), python_command(code)).stdout
        expect(found == b"said", f"what a command wrote must stay in its logs; got {found!r:.80}")

    # Signals ------------------------------------------------------------------------------

    def test_a_signal_reaches_the_command(self) -> None:
        """signal() reaches the command itself; after its end nothing happens."""
        session = self.shared()
        script = 'trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.01; done'
        process = session.start(Command(argv=("sh", "-c", script)))
        self.eventually(
            lambda: session.logs(process) == b"ready\n", "a command's output must arrive"
        )
        session.signal(process, signal.SIGUSR1)
        found = session.wait(process, self.patience_s).exit_code
        expect(found == 5, f"SIGUSR1 must reach the command, which then exits with 5; got {found}")
        session.signal(process, signal.SIGUSR1)

    # Parts --------------------------------------------------------------------------------

    def _expect_unstartable(self, program: str, code: int, **fields: JsonValue) -> None:
        done = self.run(self.shared(), Command(argv=(program,), **fields))
        expect(
            done.status.exit_code == code,
            f"the program {program!r} must exit with {code}; it exits with {done.status.exit_code}",
        )
        name = program.removeprefix("./")
        expect(
            name in done.stderr,
            f"standard error must say that {name!r} cannot be run; it says {done.stderr[:80]!r}",
        )

    def _expect_arguments(self, *arguments: str) -> None:
        found = self.run(self.shared(), python_command(_DIGEST, *arguments)).stdout.decode().strip()
        wanted = hashlib.sha256("".join(arguments).encode()).hexdigest()
        size = sum(map(len, arguments))
        expect(
            found == wanted,
            f"{size} bytes in {len(arguments)} arguments must arrive unchanged; they did not",
        )

    def _environment(self, **given: str) -> dict[str, str]:
        command = Command(argv=("env", "-0"), env=given)
        entries = self.run(self.shared(), command).stdout.decode("utf-8", "replace").split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)
