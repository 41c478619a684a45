"""Detection of the separator, the decimal mark and the thousands mark of a CSV file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from polymodal.csvfiles.lines import BREAK, Grammar, UnclosedError
from polymodal.csvfiles.options import NO_QUOTE, Options, usual_separator
from polymodal.runtime.formatting import brief

__all__ = ["SEPARATOR_LINE", "describe_detected_options", "quote_of", "sniff"]

SEPARATORS = (",", ";", "\t", "|")
LINES = 500
"""Number of lines that are inspected."""
SEPARATOR_LINE = re.compile(r"sep=(.)(?:\r\n|\n|\r)")
"""A first line that specifies the separator, as Excel reads it."""
WITH_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:[. \u00a0\u202f]\d{3})+),\d+")
"""A number with a comma, which may be a decimal mark or a thousands mark."""
SURELY_COMMA = re.compile(r"[+-]?(?:0\d*,\d+|\d+,(?:\d{1,2}|\d{4,})|\d{4,},\d+|\d{1,3}(?:[. \u00a0\u202f]\d{3})+,\d+)")
"""A number whose comma cannot be a thousands mark."""
WITH_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
POINTED_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?")
SPACED_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:([ \u00a0\u202f])\d{3})(?:\1\d{3})*,\d+")
"""A number with a decimal comma and a space as its thousands mark."""
COMMA = re.compile(r"\d,\d")


def quote_of(options: Options) -> str | None:
    """Returns the character around quoted cells; None if quotes are ordinary characters."""
    return None if options.quote == NO_QUOTE else options.quote or '"'


def sniff(path: Path, text: str, options: Options, preferred: Options | None = None) -> Options:
    r"""Completes the options with a separator and a decimal mark.

    The separator is the one that splits the first lines into the most cells, with the same number of cells in each
    line. The decimal mark is a comma if some numbers have a decimal comma, the separator is not a comma, and no number
    has a decimal point.

    Arguments:
        path: The file; its ending determines the usual separator.
        text: Text of the file.
        options: Given options, which are not detected.
        preferred: Options to use if they fit the file, such as those of the training rows.

    Raises:
        ValueError: The lines do not fit the separator that the file seems to have.

    Example:
        >>> made = sniff(Path("trees.csv"), "kind;height\noak;5,2\nelm;8,15\n", Options())
        >>> made.separator, made.decimal
        (';', ',')
    """
    preferred = preferred or Options()
    if options.separator is None:
        options = options._replace(separator=_separator(path, text, options, preferred.separator))
    if options.decimal is None:
        options = _with_decimal(options, text, preferred)
    if options.thousands is None and preferred.thousands not in (None, options.decimal or "."):
        options = _with_thousands(options, text, str(preferred.thousands))
    return options._replace(decimal=options.decimal or ".")


def describe_detected_options(path: Path, options: Options) -> str:
    """Returns the message about options that were detected in a file."""
    return f"{path.name} is read by {options.format()}, as its first lines suggest"


def _separator(path: Path, text: str, options: Options, preferred: str | None) -> str:
    if (found := SEPARATOR_LINE.match(text)) is not None:
        return found[1]
    usual = usual_separator(path)
    widths = {mark: _width(text, mark, options) for mark in dict.fromkeys([preferred or usual, usual, *SEPARATORS])}
    fitting = {mark: width for mark, width in widths.items() if width > 1}
    if options.columns and len(options.columns) in fitting.values():
        fitting = {mark: width for mark, width in fitting.items() if width == len(options.columns)}
    if preferred in fitting:
        return str(preferred)
    if fitting:
        return max(fitting, key=fitting.__getitem__)  # the first one in case of a tie
    _refuse_lone(path, text, usual)
    return usual


def _width(text: str, separator: str, options: Options) -> int:
    """Returns the number of cells of the header, or 0 if the numbers of cells in the first lines do not match."""
    rows = _first(text, Grammar(separator, quote_of(options)))
    if not rows:
        return 0
    head, *others = (len(row) for row in rows)
    fits = len({*others}) <= 1 and all(width in (head, head + 1) for width in others)
    return head if fits else 0


def _first(text: str, grammar: Grammar) -> list[list[str]]:
    """Returns the written cells of the first lines."""
    start = found.end() if (found := SEPARATOR_LINE.match(text)) else 0
    try:
        lines = [line for line, _ in islice(grammar.lines(text, start), LINES) if not grammar.is_blank(line)]
    except UnclosedError:
        return []
    return [grammar.cells(line) for line in lines]


def _refuse_lone(path: Path, text: str, usual: str) -> None:
    """Raises an error if the header would be the name of a single column although it contains a separator."""
    first = next((line for line in BREAK.split(text[:65_536]) if line.strip()), "")
    found = [mark for mark in SEPARATORS if mark in first]
    if found and usual not in first:
        name = "tab" if found[0] == "\t" else f"'{found[0]}'"
        raise ValueError(
            f"{path}: the first line, {brief(repr(first), 80)}, would be the name of a single column; if {name} "
            f"separates cells write --separator {name}, and correct the lines that have more or fewer cells; "
            "if it is one column write --separator comma"
        )


def _with_decimal(options: Options, text: str, preferred: Options) -> Options:
    """Returns the options with the detected decimal mark, and the thousands mark that goes with it."""
    cells = _values(text, options)
    if options.separator != "," and not _any(WITH_COMMA, cells):
        cells += _values_with_comma(text, options)
    points = [cell for cell in cells if WITH_POINT.fullmatch(cell) or POINTED_THOUSANDS.fullmatch(cell)]
    if options.separator != "," and _any(SURELY_COMMA, cells) and all(map(POINTED_THOUSANDS.fullmatch, points)):
        spaced = next((found[1] for cell in cells if (found := SPACED_THOUSANDS.fullmatch(cell))), None)
        grouped = options.thousands or ("." if points else spaced)
        return options._replace(decimal=",", thousands=grouped)
    if preferred.decimal == options.separator != (preferred.separator or ","):
        return options
    if preferred.decimal and not (points and preferred.decimal == "," and not _any(WITH_COMMA, cells)):
        return options._replace(decimal=preferred.decimal, thousands=options.thousands or preferred.thousands)
    return options


def _with_thousands(options: Options, text: str, mark: str) -> Options:
    """Returns the options with this thousands mark, if numbers in the first lines have it."""
    marked = options._replace(thousands=mark)
    return marked if _any(marked.grouped_number, _values(text, options)) else options


def _values(text: str, options: Options) -> list[str]:
    """Returns the texts of the cells of the first lines, without the header."""
    grammar = Grammar(options.separator or ",", quote_of(options))
    return [grammar.value(cell) for row in _first(text, grammar)[options.has_header :] for cell in row]


def _values_with_comma(text: str, options: Options) -> list[str]:
    """Returns the cells of the first lines that contain a comma between digits, wherever these are in the file."""
    grammar = Grammar(options.separator or ",", quote_of(options))
    if not COMMA.search(text):
        return []
    try:
        lines = [*islice((line for line, _ in grammar.lines(text) if COMMA.search(line)), LINES)]
    except UnclosedError:
        return []
    return [grammar.value(cell) for line in lines for cell in grammar.cells(line)]


def _any(pattern: re.Pattern[str], cells: Iterable[str] | Sequence[str]) -> bool:
    return any(map(pattern.fullmatch, cells))
