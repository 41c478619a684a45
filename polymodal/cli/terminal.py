"""What reaches a terminal or a redirected stream: lines that hide nothing, in characters that the stream has."""

from __future__ import annotations

import codecs
import sys

from polymodal.runtime.formatting import printable

__all__ = ["ERRORS", "make_tolerant", "tell", "warn"]

ERRORS = "polymodal.plain"
"""The name under which Python knows how to write what an encoding lacks."""

PLAIN = {
    "\N{UPWARDS ARROW}": "^",
    "\N{DOWNWARDS ARROW}": "v",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
    "\N{NO-BREAK SPACE}": " ",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MIDDLE DOT}": "-",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{INFINITY}": "inf",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
}
"""Characters that polymodal prints, and what says the same in ASCII. All others become escapes."""


def make_tolerant() -> None:
    """Lets standard output and standard error write characters that their encoding lacks in plainer ones.

    A command whose output is redirected, or a terminal of an old code page, would end it with an error otherwise.
    """
    codecs.register_error(ERRORS, _plainer)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=ERRORS)


def tell(text: str) -> None:
    """Prints lines on standard output; what cannot be seen in them is written as an escape."""
    for line in text.split("\n"):
        print(printable(line))
    if sys.stdout is not None:
        sys.stdout.flush()


def warn(text: str) -> None:
    """Prints lines on standard error, likewise."""
    for line in text.split("\n"):
        print(printable(line), file=sys.stderr)
    if sys.stderr is not None:
        sys.stderr.flush()


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """How Python writes what an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    odd = error.object[error.start : error.end]
    plain = "".join(PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in odd)
    return plain, error.end
