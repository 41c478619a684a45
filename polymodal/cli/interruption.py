"""Interruption of commands: signals, exit codes, hints how to resume a run, and locks on outputs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from types import FrameType

import typer

from polymodal.cli import processes, standard_streams

__all__ = ["claim_output", "compute_exit_code", "print_error", "stop_on_sigterm", "suggest_resume"]


class Terminated(KeyboardInterrupt):
    """The process has received SIGTERM."""

    signal = signal.SIGTERM


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Context manager in which SIGTERM stops the command as Ctrl-C does, unless SIGTERM has another handler already.

    A launcher sends SIGTERM to the other processes as soon as one has ended. After an error in one of several
    processes it is ignored, so that the process which reports for all of them does not end before it has printed.
    """
    before = signal.getsignal(signal.SIGTERM)
    catches = before is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if catches:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except BaseException:
        if catches and processes.count() > 1:
            before = signal.SIG_IGN
        raise
    finally:
        if catches:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def compute_exit_code(stop: BaseException) -> int:
    """Returns the exit code that shells expect of a process that a signal has ended: 128 plus the signal's number."""
    return 128 + getattr(stop, "signal", signal.SIGINT)


def print_error(line: str) -> None:
    """Prints a line on stderr, in the main process."""
    if processes.number() == 0:
        standard_streams.complain(line)


@contextmanager
def suggest_resume(folder: Path | str | None, *, always: bool = True) -> Iterator[None]:
    """Context manager that prints how to resume the run in a folder if it is interrupted.

    Arguments:
        folder: Run folder, or None if there is nothing to resume.
        always: Whether to print it also for a run that has not written its state; such a run starts again.
    """
    from polymodal.cli.train import SETTINGS

    try:
        yield
    except KeyboardInterrupt as stop:
        where = getattr(stop, "where", "stopped" if always else None)
        if folder is None or where is None or not Path(folder, SETTINGS).exists():
            raise
        print_error(f"polymodal: {where}. To resume the run:\npolymodal train --resume {quote(str(folder))}")
        raise typer.Exit(compute_exit_code(stop)) from None


@contextmanager
def claim_output(out: Path) -> Iterator[None]:
    """Context manager that locks an output, in the main process.

    Raises:
        ValueError: Another process writes the same output.
    """
    from polymodal.io.locks import claim_outputs

    with nullcontext() if processes.number() else claim_outputs(out.resolve(), does="writes it"):
        yield
