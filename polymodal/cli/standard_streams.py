"""Robust handling of standard output and error that are closed, on a full disk, or no longer read."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from polymodal.cli.terminal import warn

__all__ = ["complain", "drop", "finish", "prepare"]


def prepare() -> None:
    """Opens closed standard streams; otherwise a file that is opened later would get their file descriptor."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # uses the lowest free file descriptor
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (until the end)


def finish() -> None:
    """Flushes standard output.

    Raises:
        OSError: The output cannot be written.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(f"the output could not be printed: {error.strerror or error}") from error


def drop() -> None:
    """Discards output that could not be written; otherwise the interpreter would try to write it again at exit."""
    if sys.stdout is sys.__stdout__:
        with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
            sys.stdout.flush()


def complain(line: str) -> None:
    """Prints a line on standard error, and ignores errors of the stream."""
    with suppress(OSError, ValueError):
        warn(line)
        sys.stderr.flush()
