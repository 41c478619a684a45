"""Warnings about how a CSV file was read: texts read as missing values, a doubtful header, a doubtful separator."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from polymodal.csvfiles.options import NOTHING
from polymodal.modalities.cell_texts import to_float
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.csvfiles.document import Document

__all__ = ["doubts"]

LOOKED_AT = 1000
"""Number of values or rows that are inspected."""
MOST_LISTED = 5
YEARS = range(1800, 2200)
CODE = re.compile(r"[A-Z]{2}")


def doubts(document: Document) -> list[str]:
    """Returns warnings about what may have been read wrongly, with the option that changes it."""
    return [*_missing(document), *_header(document), *_lone(document)]


def _missing(document: Document) -> Iterator[str]:
    """Yields warnings about texts that were read as missing values although no option lists them."""
    if not any(text in document.text.content for text in NOTHING):
        return
    frame = document.frame
    empty = {name: frame[name].isna() for name in document.names}
    columns = [name for name in document.names if empty[name].any()]
    texts = document.texts(columns)
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name in columns:
        for text, times in texts[name][empty[name]].value_counts().items():
            if text in NOTHING and text not in document.options.missing:
                found[str(text)][name] = int(times)
    for text, times in found.items():
        many, ways = sum(times.values()), [_suggest_present_option(frame[name], name, text) for name in times]
        where = brief(", ".join(f"{name}: {count}" for name, count in times.items()), 100)
        contain, are = ("cells contain", "are") if many > 1 else ("cell contains", "is")
        way = "".join(f"; {way}" for way in ways[:MOST_LISTED] if way)
        yield f"{many:,} {contain} {text!r} and {are} read as missing ({where}){way}"


def _suggest_present_option(column: pd.Series, name: str, text: str) -> str:
    """Returns how to keep a text as a value; an empty string for a column of numbers."""
    if column.dtype.kind in "biuf" and column.notna().any():
        return ""
    there = column.dropna().unique()[:LOOKED_AT]
    codes = bool(len(there)) and CODE.fullmatch(text) and all(CODE.fullmatch(str(cell)) for cell in there)
    why = "the column has other codes of two letters, and " if codes else ""
    option = (
        f"'--present={name}={text}'" if not re.fullmatch(r"[\w./<>#-]+", name + text) else f"--present {name}={text}"
    )
    return f"{why}{option} keeps {'it' if codes else 'them'} as a value"


def _header(document: Document) -> Iterator[str]:
    """Yields warnings if the first line may be a title or a row instead of the column names."""
    if not document.header or len(document.frame) < 2:
        return
    names = [document.grammar.value(cell) for cell in document.grammar.cells(document.header)]
    if 1 <= (named := sum(map(bool, names))) < len(names) / 2:
        yield (
            f"the first line names {named} of {len(names)} columns ({brief(', '.join(filter(None, names)), 60)}); if "
            "it is a title, and the names are in a later line, remove it"
        )
    columns = [document.frame[name] for name in document.names]
    if _repeats(names, columns) or _has_numeric_header(names, columns):
        shown = brief(", ".join(names), 60)
        yield (
            f"the first line looks like data ({shown}) and is read as the names of the columns; --no-header reads "
            "it as a row, and --columns names the columns"
        )


def _repeats(names: list[str], columns: list[pd.Series]) -> bool:
    """Returns whether the name of a column is also one of its values, in several rows."""
    texts = [(name, column) for name, column in zip(names, columns, strict=True) if column.dtype.kind not in "biuf"]
    return any(name and int((column == name).sum()) > 1 for name, column in texts)


def _has_numeric_header(names: list[str], columns: list[pd.Series]) -> bool:
    """Returns whether all columns of numbers have numbers as names that are neither years nor evenly spaced."""
    called = [name for name, column in zip(names, columns, strict=True) if column.dtype.kind in "iuf" and name]
    made = [to_float(name) for name in called]
    numbers = [number for number in made if number is not None]
    if not numbers or len(numbers) < len(called):
        return False
    if any(number % 1 for number in numbers):
        return True
    steps = {after - before for before, after in pairwise(numbers)}
    return 0 in steps or (len(steps) != 1 and not all(number in YEARS for number in numbers))


def _lone(document: Document) -> Iterator[str]:
    """Yields a warning if a single column may be several columns with an unusual separator."""
    if len(document.names) > 1 or not document.header or not document.rows:
        return
    for mark, word in ((" ", "space"), (":", ":"), ("^", "^"), ("~", "~")):
        widths = {len(line.split(mark)) for line in (document.header, *document.rows[:LOOKED_AT])}
        if len(widths) == 1 and widths != {1}:
            name = brief(repr(document.names[0]), 60)
            yield f"there is a single column, {name}; if {mark!r} separates cells write --separator {word}"
            return
    if len(widths := {len(line.split()) for line in (document.header, *document.rows[:LOOKED_AT])}) == 1 < max(widths):
        name = brief(repr(document.names[0]), 60)
        yield (
            f"there is a single column, {name}; if blanks separate cells, replace several by one and write "
            "--separator space"
        )
