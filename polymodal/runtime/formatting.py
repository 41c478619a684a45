"""Formats values and names as text: shortened to one line, escaped, and quoted for a shell."""

from __future__ import annotations

import csv
import io
import shlex
from typing import Any
from unicodedata import category

__all__ = ["brief", "format_count", "printable", "shell_quote", "split_names", "value_repr"]


def brief(text: object, most: int = 300) -> str:
    r"""Formats an error or a value as one line of at most `most` printable characters.

    Example:
        >>> brief(ValueError("one\n  and two")), brief("a" * 400)[-8:]
        ('one and two', 'aaaa ...')
    """
    line = printable(" ".join(str(text)[: 10 * most].split()) or type(text).__name__)
    return line if len(line) <= most else line[: most - 4] + " ..."


def format_count(number: int, one: str, several: str | None = None) -> str:
    """Returns a number with a noun in the singular or plural.

    Example:
        >>> format_count(1, "row"), format_count(2000, "row"), format_count(2, "class", "classes")
        ('1 row', '2,000 rows', '2 classes')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def printable(text: object) -> str:
    r"""Formats a text as one line, with escapes for unprintable characters.

    Line breaks, control characters, escape sequences, characters that change the direction of writing, and zero-width
    characters could otherwise let text from a file or a table change what a terminal or a page shows.

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
    r"""Quotes a text for a shell on one line; a text with unprintable characters is quoted as `$'...'` of bash.

    Example:
        >>> print(shell_quote("a b=label"), shell_quote("a\n(cm)=ignore"))
        'a b=label' $'a\n(cm)=ignore'
    """
    if text.isprintable():
        return shlex.quote(text)
    letters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "$'" + "".join(f"\\{c}" if c in "'\\" else c for c in letters) + "'"


def split_names(text: str) -> list[str]:
    """Splits a text into names at commas and line breaks; a name in double quotes may contain commas.

    Example:
        >>> split_names("age, sex"), split_names('"last, first",age'), split_names("it's")
        (['age', 'sex'], ['last, first', 'age'], ["it's"])
    """
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    return [name.strip() for row in rows for name in row]


def value_repr(value: Any) -> str:
    """Returns the `repr` of a value, with NumPy scalars shown as Python values.

    Example:
        >>> import numpy as np
        >>> value_repr(np.float64(1.5)), value_repr(np.str_("a")), value_repr(True)
        ('1.5', "'a'", 'True')
    """
    return repr(value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value)
