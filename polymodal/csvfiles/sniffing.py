"""What a CSV file's first lines say of its separator and its decimal mark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from polymodal.csvfiles.lines import BREAK, Grammar, UnclosedError
from polymodal.csvfiles.options import NO_QUOTE, Options, usual_separator
from polymodal.runtime.formatting import brief

__all__ = ["SAID", "quote_of", "sniff", "suggested"]

SEPARATORS = (",", ";", "\t", "|")
LINES = 500
"""Lines that are looked at."""
SAID = re.compile(r"sep=(.)(?:\r\n|\n|\r)")
"""A first line that Excel reads, and that says what the separator is."""
WITH_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:[. \u00a0\u202f]\d{3})+),\d+")
"""A number with a decimal comma, or with commas between its thousands."""
SURELY_COMMA = re.compile(r"[+-]?(?:0\d*,\d+|\d+,(?:\d{1,2}|\d{4,})|\d{4,},\d+|\d{1,3}(?:[. \u00a0\u202f]\d{3})+,\d+)")
"""A number whose comma cannot be that of thousands."""
WITH_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
POINTED_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?")
SPACED_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:([ \u00a0\u202f])\d{3})(?:\1\d{3})*,\d+")
"""A number with a decimal comma and a space between thousands."""
COMMA = re.compile(r"\d,\d")


def quote_of(options: Options) -> str | None:
    """The character around quoted cells; None if there is none."""
    return None if options.quote == NO_QUOTE else options.quote or '"'


def sniff(path: Path, text: str, options: Options, preferred: Options | None = None) -> Options:
    r"""The options with a separator and a decimal mark.

    The separator is the one by which the first lines have the most cells, and each as many. The decimal mark is a comma
    where numbers are so written, separators are none, and no number has a point.

    Arguments:
        path: The file; its ending says which separator is usual.
        text: What it holds.
        options: What is given; this is not looked for.
        preferred: What is taken if it fits, such as that of the training rows.

    Raises:
        ValueError: The file seems to have a separator by which its lines do not fit.

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


def suggested(path: Path, options: Options) -> str:
    """A sentence on options that were found in a file."""
    return f"{path.name} is read by {options.shown()}, as its first lines suggest"


def _separator(path: Path, text: str, options: Options, preferred: str | None) -> str:
    if (said := SAID.match(text)) is not None:
        return said[1]
    usual = usual_separator(path)
    widths = {mark: _width(text, mark, options) for mark in dict.fromkeys([preferred or usual, usual, *SEPARATORS])}
    fitting = {mark: width for mark, width in widths.items() if width > 1}
    if options.columns and len(options.columns) in fitting.values():
        fitting = {mark: width for mark, width in fitting.items() if width == len(options.columns)}
    if preferred in fitting:
        return str(preferred)
    if fitting:
        return max(fitting, key=fitting.__getitem__)  # the first of those with as many cells
    _refuse_lone(path, text, usual)
    return usual


def _width(text: str, separator: str, options: Options) -> int:
    """Cells of the header; 0 where the first lines do not have as many."""
    rows = _first(text, Grammar(separator, quote_of(options)))
    if not rows:
        return 0
    head, *others = (len(row) for row in rows)
    fits = len({*others}) <= 1 and all(width in (head, head + 1) for width in others)
    return head if fits else 0


def _first(text: str, grammar: Grammar) -> list[list[str]]:
    """The written cells of the first lines."""
    start = said.end() if (said := SAID.match(text)) else 0
    try:
        lines = [line for line, _ in islice(grammar.lines(text, start), LINES) if not grammar.is_blank(line)]
    except UnclosedError:
        return []
    return [grammar.cells(line) for line in lines]


def _refuse_lone(path: Path, text: str, usual: str) -> None:
    """Refuses a header that would be the name of one column, although it has a separator."""
    first = next((line for line in BREAK.split(text[:65_536]) if line.strip()), "")
    found = [mark for mark in SEPARATORS if mark in first]
    if found and usual not in first:
        name = "tab" if found[0] == "\t" else f"'{found[0]}'"
        raise ValueError(
            f"{path}: the first line, {brief(repr(first), 80)}, would be the name of a single column; if {name} stands "
            f"between cells write --separator {name}, and mend the lines that have more or fewer cells; "
            "if it is one column write --separator comma"
        )


def _with_decimal(options: Options, text: str, preferred: Options) -> Options:
    """The options with the decimal mark that numbers have, and the mark of thousands that goes with it."""
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
    """The options with a mark between thousands, if numbers have it."""
    marked = options._replace(thousands=mark)
    return marked if _any(marked.grouped_number, _values(text, options)) else options


def _values(text: str, options: Options) -> list[str]:
    """The cells of the first lines."""
    grammar = Grammar(options.separator or ",", quote_of(options))
    return [grammar.value(cell) for row in _first(text, grammar)[options.has_header :] for cell in row]


def _values_with_comma(text: str, options: Options) -> list[str]:
    """The cells of the first lines, wherever they stand, with a comma between digits."""
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
