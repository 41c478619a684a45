"""Splitting a CSV file into lines, and lines into cells, without changing any character.

Quotes, blanks and line ends are kept. Joining the cells of a line with separators, and the lines with their ends, gives
exactly the original text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

__all__ = ["BREAK", "Grammar", "UnclosedError", "line_number"]

BREAK = re.compile(r"\r\n|\n|\r")


class Grammar:
    r"""The separator and the quote of a CSV file, with methods to split and write its lines and cells.

    Arguments:
        separator: Character between cells.
        quote: Character around cells that contain separators, line breaks or quotes; quotes within such a cell are
            doubled. None if the file has no quotes.

    Example:
        >>> grammar = Grammar(",", '"')
        >>> [*grammar.lines('a,"b\n1"\nc, d')]
        [('a,"b\n1"', '\n'), ('c, d', '')]
        >>> grammar.cells('a,"b\n1"'), grammar.value('"b\n1"'), grammar.write("b,1")
        (['a', '"b\n1"'], 'b\n1', '"b,1"')
    """

    def __init__(self, separator: str, quote: str | None) -> None:
        self.separator, self.quote = separator, quote
        blank = "".join(mark for mark in " \t" if mark != separator)
        mark, plain = re.escape(separator), rf"[^{re.escape(separator)}\r\n]*+"
        if quote is None:
            cell = plain
        else:
            q = re.escape(quote)
            cell = rf"(?:[{blank}]*+{q}(?:[^{q}]++|{q}{q})*+{q}{plain}|(?![{blank}]*{q}){plain})"
            self._quoted = re.compile(rf"[{blank}]*{q}((?:[^{q}]|{q}{q})*){q}(.*)", re.DOTALL)
        self._line = re.compile(rf"{cell}(?:{mark}{cell})*+")
        self._each = re.compile(cell)
        self._blank = re.compile(rf"[{blank}]*")

    def lines(self, text: str, start: int = 0) -> Iterator[tuple[str, str]]:
        """Yields lines and their ends; a line may contain line breaks within quotes.

        Raises:
            UnclosedError: A quote opens and does not close.
        """
        if self.quote is None or self.quote not in text:
            yield from _split_unquoted(text, start)
            return
        size = len(text)
        while start < size:
            found = self._line.match(text, start)
            stop = start if found is None else found.end()
            end = BREAK.match(text, stop)
            if found is None or (end is None and stop < size):
                raise UnclosedError(stop)
            after = size if end is None else end.end()
            yield text[start:stop], text[stop:after]
            start = after

    def cells(self, line: str) -> list[str]:
        """Returns the cells of a line as they are written."""
        if self.quote is None or self.quote not in line:
            return line.split(self.separator)
        made, place = [], 0
        while True:
            found = self._each.match(line, place)
            assert found is not None, "lines() has matched it"
            made.append(found[0])
            place = found.end() + 1
            if place > len(line):
                return made

    def width(self, line: str) -> int:
        """Returns the number of cells of a line."""
        if self.quote is None or self.quote not in line:
            return line.count(self.separator) + 1
        return len(self.cells(line))

    def is_blank(self, line: str) -> bool:
        """Returns whether a line has only blanks, and is therefore not a row."""
        return self._blank.fullmatch(line) is not None

    def is_quoted(self, cell: str) -> bool:
        """Returns whether a written cell is in quotes."""
        return self.quote is not None and self._quoted.fullmatch(cell) is not None

    def value(self, cell: str) -> str:
        """Returns the text of a written cell, without quotes and without white space around it."""
        if self.quote is None or self.quote not in cell:
            return cell.strip()
        found = self._quoted.fullmatch(cell)
        if found is None:
            return cell.strip()
        return (found[1].replace(self.quote * 2, self.quote) + found[2]).strip()

    def write(self, text: str, *, quoted: bool = False) -> str:
        """Returns a text written as a cell, with quotes where they are necessary or requested.

        Raises:
            ValueError: The text needs quotes, and the file has no quote character.
        """
        if not (quoted or self._must_be_quoted(text)):
            return text
        if self.quote is None:
            raise ValueError(
                f"a cell without quotes must contain no separator and no line break; {text!r} does; name the --quote"
            )
        return self.quote + text.replace(self.quote, self.quote * 2) + self.quote

    def _must_be_quoted(self, text: str) -> bool:
        return self._special.search(text) is not None or text != text.strip()

    @cached_property
    def _special(self) -> re.Pattern[str]:
        return re.compile(rf"[{re.escape(self.separator + (self.quote or ''))}\r\n]")


class UnclosedError(ValueError):
    """An opening quote without a closing quote.

    Arguments:
        place: Position in the text, from 0.
    """

    def __init__(self, place: int) -> None:
        super().__init__(f"a quote opens at character {place} and does not close")
        self.place = place


def line_number(text: str, place: int) -> int:
    r"""Returns the line number, from 1, of a position in a text.

    Example:
        >>> line_number("a\r\nb\nc", 5)
        3
    """
    return sum(1 for _ in BREAK.finditer(text, 0, place)) + 1


def _split_unquoted(text: str, start: int) -> Iterator[tuple[str, str]]:
    """Yields the lines of a text without quotes, and their ends."""
    for found in BREAK.finditer(text, start):
        yield text[start : found.start()], found[0]
        start = found.end()
    if start < len(text):
        yield text[start:], ""
