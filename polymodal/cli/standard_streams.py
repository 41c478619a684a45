"""Standard output and error, whatever they are: closed, full, or read no further."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from polymodal.cli.terminal import warn

__all__ = ["complain", "drop", "finish", "prepare"]


def prepare() -> None:
    """Opens standard streams that are closed: a file that is opened later would else get their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (until the end)


def finish() -> None:
    """Writes what is printed and not yet written.

    Raises:
        OSError: It cannot be written.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(f"what is printed could not be written: {error.strerror or error}") from error


def drop() -> None:
    """Forgets what could not be printed, so that the interpreter does not try again at its end."""
    if sys.stdout is sys.__stdout__:
        with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
            sys.stdout.flush()


def complain(line: str) -> None:
    """Prints a line on standard error, where that can be written."""
    with suppress(OSError, ValueError):
        warn(line)
        sys.stderr.flush()
