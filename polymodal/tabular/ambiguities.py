"""What is ambiguous about a column beside what it is taken for: each is a sentence that says what to do, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from polymodal.modalities.cells import class_name
from polymodal.modalities.dates import read_date
from polymodal.runtime.formatting import brief, shell_quote, value_repr
from polymodal.tabular.profile import Column, mostly

__all__ = [
    "NumberTexts",
    "doubt_date",
    "doubt_identifier",
    "doubt_missing",
    "doubt_padded",
    "doubt_same",
    "is_row_number",
    "is_skewed",
    "way_missing",
]

FEWEST = 50
"""Rows without which nothing is said of how often a value stands."""
SAME = 0.98
"""The share of the rows with one value from which on a column says next to nothing."""
NEARLY = 0.95
"""The share of different values from which on a column that is called an identifier may be one."""
CHANCE = 1e-3
"""How improbable it must be that whole numbers differ by chance alone."""
SKEWED = 3
"""The skewness from which on logarithms are worth a word, if they halve it."""
FAR = 20
"""Times the 90th percentile, and so far from 0, is a number that is far larger than the others."""
CODES = [number for nines in (99, 999, 9999, 99999, 999999) for number in (nines, -nines)]
CODES += [-1, -9, -88, -888, -8888, -77, -777, -7777]
"""Numbers that stand for a missing value in many files."""
FARTHER = 100
"""Times the range of all other numbers is one that stands apart, and stands there more than once."""
MARKS = ("?", "-", "--", ".", "*", "#", "n.a.", "n.d.", "n/d", "missing", "(missing)", "[missing]")
"""What stands for an empty cell in many files."""
CALLED = re.compile(r"(^|[_\W])(id|ids|uuid|guid|key|index)$|[a-z](ID|Id|Key|Index)$|^(ID|Id|Key|Index|UUID)$")
"""Names of columns of identifiers."""
CURRENCY = r"[$€£¥₹₽₩]|USD|EUR|GBP|CHF|JPY|CAD|AUD|SEK|NOK|DKK|PLN|kr|zł|Fr\.?|Rs\.?"
UNIT = r"[%‰]|kg|g|mg|km|m|cm|mm|l|L|ml|mL|°C|°F|°"
NUMBER = re.compile(rf"[-+]?\s*({CURRENCY})?\s*([-+]?\d[\d.,'\u2019 \u00a0\u202f]*)({CURRENCY}|{UNIT})?")
"""A number as people write it, with a sign, and a currency or a unit."""
PLAIN_DATE = re.compile(r"(?:1[89]|20|21)\d{6}")
"""A date as a whole number: year, month and day."""
BRACKETS = "()"
"""In place of the unit of a number that stands in brackets."""
GROUPED = re.compile(r"\d{1,3}([.,'\u2019 \u00a0\u202f])\d{3}(\1\d{3})*")
"""A whole number with a mark between thousands."""


def doubt_same(column: Column) -> str:
    """Whether nearly all rows have one value."""
    rows = len(column.values)
    if not column.comparable or rows < FEWEST or column.counts.max() < SAME * rows:
        return ""
    value = brief(value_repr(column.counts.idxmax()), 30)
    share = f"{100 * column.counts.max() / rows:.3g}"
    return f"{share} % of the rows have the same value, {value}: to leave it out write {column.otherwise('ignore')}"


def doubt_missing(column: Column) -> str:
    """Whether a number, or a text, probably stands for a missing value."""
    found = _code(column) if column.kind in ("integer", "number") else _mark(column)
    if found is None:
        return ""
    if column.kind in ("integer", "number"):
        return f"if {found} stands for a missing value, replace it by an empty cell, or write {way_missing(found)}"
    return f"if {found!r} is for an empty cell, say so when the file is read: {way_missing(found)}"


def way_missing(text: str) -> str:
    """The option that says that a text is for an empty cell.

    Example:
        >>> way_missing("-999"), way_missing("?")
        ('--missing=-999', "'--missing=?'")
    """
    return shell_quote(f"--missing={text}")


def _mark(column: Column) -> str | None:
    marks = [text for text in column.counts.index if isinstance(text, str) and text.strip().casefold() in MARKS]
    return marks[0] if marks else None


def _code(column: Column) -> str | None:
    """A smallest or largest number that is apart from all others."""
    values = column.values.to_numpy(np.float64)
    for code in (float(values.min()), float(values.max())):
        rest = values[values != code]
        if len(np.unique(rest)) < 3:
            continue
        low, high, times = float(rest.min()), float(rest.max()), len(values) - len(rest)
        gap = low - code if code < low else code - high
        known = code in CODES and (gap >= high - low or (code < 0 <= low and times >= 2))
        if known or (times >= 2 and gap > FARTHER * max(high - low, abs(low), abs(high))):
            return f"{code:.15g}"
    return None


def doubt_date(column: Column) -> str:
    """Whether whole numbers of eight digits are dates, such as 20210301."""
    texts = [f"{number:08}" for number in column.first]
    if len(texts) < 3 or not all(map(_is_plain_date, texts)):
        return ""
    first, ignored = texts[0], column.otherwise("ignore")
    return (
        f"all are dates, such as {first}, and a predicted number may be none: write dates as "
        f"{first[:4]}-{first[4:6]}-{first[6:]} to have them taken so, or leave them out with {ignored}"
    )


def _is_plain_date(text: str) -> bool:
    return PLAIN_DATE.fullmatch(text) is not None and read_date("%Y%m%d", text) is not None


def doubt_padded(column: Column) -> str:
    """Whether classes differ by nothing but white space or capital letters."""
    alike: dict[str, list[str]] = {}
    for name in map(class_name, column.counts.index):
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(map(repr, names[:3]))
            return f"{listed} are different classes: if they are the same, write them alike in the file"
    return ""


def doubt_identifier(column: Column) -> str:
    """Whether a column that is called like one is an identifier, of which at most a few stand in several rows."""
    different, rows = len(column.counts), len(column.values)
    if not CALLED.search(column.name) or not NEARLY * rows <= different or FEWEST > rows > different:
        return ""
    if different == rows:
        return f"no two rows have the same: if it is an identifier write {column.otherwise('ignore')}"
    return (
        f"{different:,} of {rows:,} rows have a value of their own: if it is an identifier write "
        f"{column.otherwise('ignore')}"
    )


def is_row_number(column: Column) -> bool:
    """Whether whole numbers count rows: those of all of them, or of some that were chosen at random.

    They are each in one row, and they are consecutive, or go with the number of their row, or are so dense that as many
    numbers from as small a range would not all differ by chance.
    """
    values = column.values.to_numpy()
    rows, span = len(values), int(values.max()) - int(values.min()) + 1
    if not 3 <= rows == len(column.counts):
        return False
    if span == rows:
        return True
    behind = column.values.astype("int64") - column.values.index.to_numpy("int64")
    if behind.nunique() == 1:
        return True
    return span <= 2 * rows and _by_chance(rows, span) < CHANCE


def _by_chance(rows: int, span: int) -> float:
    """The probability that so many numbers from 1 to span, drawn at random, all differ."""
    return float(np.exp(np.log1p(-np.arange(rows) / span).sum()))


def is_skewed(values: np.ndarray) -> bool:
    """Whether a few numbers are far larger than the others, and all have a logarithm of log(1 + x) that helps."""
    largest = values.max()
    if values.min() <= -1:
        return False
    if largest >= FAR and largest / FAR > np.quantile(np.abs(values), 0.9):
        return True
    before = _skewness(values)
    return len(values) >= FEWEST and before > SKEWED and abs(_skewness(np.log1p(values))) < before / 2


def _skewness(values: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        centred = (values - values.mean()) / values.std()
        return float(np.nan_to_num(np.mean(centred**3)))


class NumberTexts(NamedTuple):
    """Texts that are numbers, as people and not as files write them."""

    what: str
    """How they are written, such as "with a decimal comma"."""
    example: str
    way: str
    """How to have numbers of them."""

    @classmethod
    def of(cls, column: Column) -> NumberTexts | None:
        """What the texts of a column are; None if 1 in 10 is no such number, or they are plain ones.

        Example:
            >>> import pandas as pd
            >>> from pathlib import Path
            >>> NumberTexts.of(Column.of(pd.DataFrame({"x": ["$3.50", "$12", "$0.75"]}), "x", Path()))
            NumberTexts(what='with a currency or a unit', example='$3.50', way='write them without it')
        """
        if column.kind != "text" or not mostly(column.first, _parts):
            return None
        return cls.of_texts(column.first)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> NumberTexts | None:
        """What at least 1 in 10 of the texts are that may be numbers; None if they are plain ones."""
        parts = [found for found in map(_parts, texts) if found]
        if not parts:
            return None
        for what, is_so, way in WRITTEN:
            odd = [found for found in parts if is_so(*found[1:])]
            if len(odd) >= len(parts) / 10:
                text, digits, _ = odd[0]
                mark = re.sub(r"[\d+-]", "", digits)[:1]
                return cls(what, text, way.format(mark=f'"{mark}"'))
        return None


def _parts(text: str) -> tuple[str, str, str] | None:
    """A text that may be a number: itself, its digits with the marks between them, and its currency or unit."""
    text = text.strip()
    bracketed = text.startswith("(") and text.endswith(")")
    found = NUMBER.fullmatch(text[1:-1].strip() if bracketed else text)
    unit = BRACKETS if bracketed else found and (found[1] or found[3] or "")
    return None if found is None else (text, found[2].strip(), unit or "")


def _is_decimal_comma(digits: str, unit: str) -> bool:
    whole, comma, rest = digits.lstrip("+-").rpartition(",")
    if not comma or "," in whole or not rest.isdecimal():
        return False
    return len(rest) != 3 or whole in ("", "0") or "." in whole or (whole.isdecimal() and len(whole) > 3)


def _is_grouped_comma(digits: str, unit: str) -> bool:
    whole, comma, rest = digits.lstrip("+-").rpartition(",")
    return bool(comma) and rest.isdecimal() and "," not in whole and GROUPED.fullmatch(whole) is not None


def _is_grouped(digits: str, unit: str) -> bool:
    digits = digits.lstrip("+-")
    whole = digits.partition(".")[0] if re.search(r"[^\d.]", digits) else digits
    return GROUPED.fullmatch(whole) is not None and not re.fullmatch(r"\d+\.\d{3}", whole)


WRITTEN: list[tuple[str, Callable[[str, str], bool], str]] = [
    (
        "with a decimal comma and a mark between thousands",
        _is_grouped_comma,
        'read the file with --decimal "," --thousands {mark} or write them plainly',
    ),
    ("with a decimal comma", _is_decimal_comma, 'read the file with --decimal "," or write points'),
    ("with a mark between thousands", _is_grouped, "read the file with --thousands {mark} or write none"),
    ("in brackets, as negative ones are in accounts", lambda digits, unit: unit == BRACKETS, "write them with a minus"),
    ("in per cent", lambda digits, unit: unit in ("%", "‰"), "write them without the sign"),
    ("with a currency or a unit", lambda digits, unit: bool(unit), "write them without it"),
]
