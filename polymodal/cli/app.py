"""The command line application and its entry point. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from polymodal.cli import processes, standard_streams
from polymodal.cli.commands import COMMANDS
from polymodal.cli.interruption import compute_exit_code, print_error, stop_on_sigterm
from polymodal.cli.terminal import make_tolerant, warn

__all__ = ["app", "main"]

UsageError = typer.BadParameter.__bases__[0]
"""Exception that typer raises for an invalid option, and does not export."""


class Commands(TyperGroup):
    """Group of commands that reports the interruption of a command, which typer does not."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the selected command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            if (gone := _find_gone(stop)) is not None:
                raise gone from None
            print_error("polymodal: stopped")
            raise typer.Exit(compute_exit_code(stop)) from None


app = typer.Typer(
    cls=Commands,
    help="Any modality from any subset of the others.",
    epilog="Example: polymodal demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback(invoke_without_command=True)
def handle_global_options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Learn a joint model of several modalities, and predict any of them from any subset of the others."""
    if version:
        from importlib import metadata

        print(metadata.version("polymodal"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()  # which prints it
        raise typer.Exit(2)
    processes.refuse(context.invoked_subcommand)


for command, examples in COMMANDS.items():
    app.command(epilog="\n\n".join(f"Example: {example}" for example in examples))(command)


def main() -> None:
    """Runs the command line.

    The exit code is 2 after a user's mistake, which is reported in one line, and 1 after any other failure.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    standard_streams.prepare()
    make_tolerant()
    try:
        with stop_on_sigterm(), processes.main_prints():
            code = app(arguments, prog_name="polymodal", standalone_mode=False)
            standard_streams.finish()
        sys.exit(code)
    except (KeyboardInterrupt, typer.Abort) as stop:
        if (gone := _find_gone(stop)) is not None:
            sys.exit(_report(gone))
        print_error("polymodal: stopped")
        sys.exit(compute_exit_code(stop))
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            warn(traceback.format_exc().rstrip())
            sys.exit(1)
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    """Prints an error in one line, once for all processes, and returns the exit code."""
    standard_streams.drop()
    if processes.is_first_to_report(line := f"polymodal: {_format_error(error)}"):
        standard_streams.complain(line)
    return 2 if isinstance(error, ValueError | TypeError | OSError | UsageError) else 1


def _format_error(error: Exception) -> str:
    """Returns the description of an error as one line."""
    if isinstance(error, UsageError):
        message = error.format_message().rstrip(".")  # pyright: ignore[reportAttributeAccessIssue]
        return " ".join(f"{message[:1].lower()}{message[1:]}; --help lists the commands and options".split())
    if isinstance(error, BrokenPipeError):
        return "the program that reads the output ended before all of the output was printed"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "there is not enough memory; use a smaller --batch-size, or fewer or smaller rows"
    known = isinstance(error, ValueError | TypeError | OSError | FloatingPointError) or _is_gone(error)
    return " ".join((str(error) if known else f"{type(error).__name__}: {error}; --debug shows the traceback").split())


def _is_gone(error: Exception) -> bool:
    """Returns whether an error states that another process has ended; only several processes import its class."""
    distributed = sys.modules.get("polymodal.runtime.distributed")
    return distributed is not None and isinstance(error, distributed.GoneError)


def _find_gone(stop: BaseException) -> Exception | None:
    """Returns the error of another process having ended, if a signal arrived while this process was handling it."""
    error = stop.__context__
    while error is not None and not (isinstance(error, Exception) and _is_gone(error)):
        error = error.__context__
    return error


if __name__ == "__main__":
    main()
