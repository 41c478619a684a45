"""Formats values and names as text: shortened to one line, escaped, and quoted for a shell."""

from __future__ import annotations

import csv
import io
import shlex
from typing import Any
from unicodedata import category

__all__ = ["brief", "printable", "shell_quote", "split_names", "value_repr"]


def brief(told: object, most: int = 300) -> str:
    r"""What an error or a value tells, on one line of at most so many characters, all of which can be printed.

    Example:
        >>> brief(ValueError("one\n  and two")), brief("a" * 400)[-8:]
        ('one and two', 'aaaa ...')
    """
    line = printable(" ".join(str(told)[: 10 * most].split()) or type(told).__name__)
    return line if len(line) <= most else line[: most - 4] + " ..."


def printable(text: object) -> str:
    r"""A text on one line, in which whatever cannot be seen is written as an escape.

    Line breaks, control characters and escape sequences, characters that turn the direction of writing, and those
    without width change what a terminal or a page shows; text from a file or a table must not.

    Example:
        >>> print(printable("two\nlines, \x1b[31mred, \u202ereversed, 鳥　類"))
        two\nlines, \x1b[31mred, \u202ereversed, 鳥　類
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or category(letter) == "Zs" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shell_quote(text: str) -> str:
    r"""A text as a shell takes it, on one line: bash's `$'...'` for what cannot be printed.

    Example:
        >>> print(shell_quote("a b=label"), shell_quote("a\n(cm)=ignore"))
        'a b=label' $'a\n(cm)=ignore'
    """
    if text.isprintable():
        return shlex.quote(text)
    letters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "$'" + "".join(f"\\{c}" if c in "'\\" else c for c in letters) + "'"


def split_names(text: str) -> list[str]:
    """Names from a text with commas between them, or one a line; one with a comma stands in double quotes.

    Example:
        >>> split_names("age, sex"), split_names('"last, first",age'), split_names("it's")
        (['age', 'sex'], ['last, first', 'age'], ["it's"])
    """
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    return [name.strip() for row in rows for name in row]


def value_repr(value: Any) -> str:
    """A value as people write it: numpy's numbers as Python's, texts in quotes.

    Example:
        >>> import numpy as np
        >>> value_repr(np.float64(1.5)), value_repr(np.str_("a")), value_repr(True)
        ('1.5', "'a'", 'True')
    """
    return repr(value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value)
