"""The command line ``ptb``: commands are found by name and imported only when they are run."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ptb_core.errors import PtbError
from ptb_core.suggest import did_you_mean

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry:
    """Where a command lives; all that ``ptb --help`` needs.

    Attributes:
        target: ``module:attribute`` of the click command.
        help: One line for the list of commands.
        hidden: True for commands that only the program itself calls.
    """

    target: str
    help: str
    hidden: bool = False


COMMANDS: Mapping[str, CommandEntry] = {
    "list": CommandEntry(
        target="ptb_core.cli.list:command", help="List every component, usable or why not."
    ),
    "show": CommandEntry(
        target="ptb_core.cli.show:command", help="Show the facts of one component."
    ),
    "plugins": CommandEntry(
        target="ptb_core.cli.plugins:command",
        help="List every installed plugin, or show where one failed.",
    ),
    "doctor": CommandEntry(
        target="ptb_core.cli.doctor:command",
        help="Say what this machine can run, and what to do about the rest.",
    ),
    "check": CommandEntry(
        target="ptb_core.cli.check:command", help="Hold components to the promises of their kind."
    ),
    "validate": CommandEntry(
        target="ptb_core.cli.validate:command", help="Check a plan and say what it will take."
    ),
    "run": CommandEntry(
        target="ptb_core.cli.run:command", help="Run a plan, or continue a run folder."
    ),
    "status": CommandEntry(target="ptb_core.cli.status:command", help="Show how a run stands."),
    "cancel": CommandEntry(target="ptb_core.cli.cancel:command", help="Stop a run's cells."),
    "retry": CommandEntry(
        target="ptb_core.cli.retry:command", help="Try cells again that have no score."
    ),
    "rejudge": CommandEntry(
        target="ptb_core.cli.rejudge:command", help="Judge the sealed evidence of cells again."
    ),
    "reevaluate": CommandEntry(
        target="ptb_core.cli.reevaluate:command", help="Evaluate sealed checkpoints again."
    ),
    "leaderboard": CommandEntry(
        target="ptb_core.cli.leaderboard:command", help="Show the results of runs."
    ),
    "gc": CommandEntry(
        target="ptb_core.cli.gc:command", help="Show what the disk need not hold, and remove it."
    ),
    "evaluate": CommandEntry(
        target="ptb_core.cli.evaluate:command", help="Evaluate one checkpoint on one task."
    ),
    "samples": CommandEntry(
        target="ptb_core.cli.samples:command", help="Show samples: asked, answered, scored."
    ),
    "baseline": CommandEntry(
        target="ptb_core.cli.baseline:command",
        help="Measure base, few-shot and instruct scores.",
    ),
    "prefetch": CommandEntry(
        target="ptb_core.cli.prefetch:command", help="Fetch the models and data of a plan."
    ),
    "new": CommandEntry(target="ptb_core.cli.new:command", help="Begin a plugin of one kind."),
    "cell": CommandEntry(
        target="ptb_core.cli.cell:command", help="Supervise one cell.", hidden=True
    ),
}
"""Every command by its name, in the order of the help."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run, and not for the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the visible commands."""
        return [name for name, entry in COMMANDS.items() if not entry.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None when there is none of that name.

        Raises:
            PtbError: If its module cannot be imported.
        """
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module_name, _, attribute = entry.target.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise PtbError(f"the command {cmd_name!r} cannot be loaded: {error}") from error
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, with a suggestion when there is none."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            names = self.list_commands(ctx)
            hint = did_you_mean(name, names)
            ctx.fail(f"there is no command {name!r}{hint}; the commands are {', '.join(names)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        rows = [(name, entry.help) for name, entry in COMMANDS.items() if not entry.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"ptb {_version()}")
        ctx.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("posttrainbench")
    except PackageNotFoundError:
        return "unknown (posttrainbench is not installed)"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def cli(debug: bool) -> None:
    """Can LLM agents automate LLM post-training? Run, judge and score them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ptb`` and return its exit code.

    0 done, 1 a cell or the work failed, 2 bad plan or usage, 130 interrupted.
    """
    arguments = tuple(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        click.echo("ptb: interrupted", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PtbError as error:
        _show_traceback(arguments)
        click.echo(f"ptb: {error}", err=True)
        return error.exit_code
    except OSError as error:
        _show_traceback(arguments)
        click.echo(f"ptb: {_os_words(error)}", err=True)
        return EXIT_FAILED
    except Exception as error:
        _show_traceback(arguments)
        words = f"{type(error).__name__}: {error}"
        click.echo(
            f"ptb: internal error: {words}\nThis is a bug of ptb or of a plugin; "
            "`ptb --debug ...` shows where.",
            err=True,
        )
        return EXIT_FAILED
    return code


def _run(arguments: list[str]) -> int:
    if "_PTB_COMPLETE" in os.environ:
        cli.main(arguments, prog_name="ptb")
    # Not cli.main(): it turns a broken pipe into exit code 1 and an interrupt into a message.
    try:
        with cli.make_context("ptb", arguments) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    return result if isinstance(result, int) else 0


def _show_traceback(arguments: Sequence[str]) -> None:
    if "--debug" in arguments:
        import traceback

        traceback.print_exc()


def _os_words(error: OSError) -> str:
    from ptb_core.disk.faults import describe_fault, disk_fault

    if disk_fault(error) is error and error.filename:
        return describe_fault(error, Path(os.fsdecode(error.filename)))
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def _silence_stdout() -> None:
    # What is still buffered would raise again when the interpreter flushes at its end.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
