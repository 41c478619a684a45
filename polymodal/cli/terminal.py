"""Printing to terminals and redirected streams: escapes invisible characters and replaces unencodable ones."""

from __future__ import annotations

import codecs
import sys

from polymodal.runtime.formatting import printable

__all__ = ["ERRORS", "make_tolerant", "tell", "warn"]

ERRORS = "polymodal.plain"
"""Name of the registered codec error handler that replaces characters missing in an encoding."""

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
"""Characters that polymodal prints, and their ASCII replacements. All other unencodable characters become escapes."""


def make_tolerant() -> None:
    """Makes standard output and standard error replace characters that are missing in their encoding.

    Otherwise a command would fail when its output is redirected or its terminal uses an old code page.
    """
    codecs.register_error(ERRORS, _plainer)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=ERRORS)


def tell(text: str) -> None:
    """Prints lines on standard output, with invisible characters as escapes."""
    for line in text.split("\n"):
        print(printable(line))
    if sys.stdout is not None:
        sys.stdout.flush()


def warn(text: str) -> None:
    """Prints lines on standard error, with invisible characters as escapes."""
    for line in text.split("\n"):
        print(printable(line), file=sys.stderr)
    if sys.stderr is not None:
        sys.stderr.flush()


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler that replaces characters missing in an encoding by ASCII text."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    odd = error.object[error.start : error.end]
    plain = "".join(PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in odd)
    return plain, error.end
