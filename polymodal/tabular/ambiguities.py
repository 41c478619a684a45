"""Warnings about columns whose inferred type may be wrong.

Each function `doubt_*` returns a sentence that says what to do, or an empty string if nothing is doubtful.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from polymodal.modalities.cells import class_name
from polymodal.modalities.dates import read_date
from polymodal.modalities.profile import Profile, mostly
from polymodal.runtime.formatting import brief, shell_quote, value_repr

__all__ = [
    "NumberTexts",
    "doubt_date",
    "doubt_identifier",
    "doubt_missing",
    "doubt_padded",
    "doubt_same",
    "is_number",
    "is_row_number",
    "is_skewed",
    "missing_option",
]

FEWEST = 50
"""Minimum number of rows for warnings about the frequency of values."""
SAME = 0.98
"""Minimum share of rows with the same value for a warning that a column has little information."""
NEARLY = 0.95
"""Minimum share of different values for a column that is named like an identifier to be a possible identifier."""
CHANCE = 1e-3
"""Largest probability that whole numbers all differ by chance, for them to be row numbers."""
SKEWED = 3
"""Skewness above which logarithms are suggested, if they reduce it to less than half."""
FAR = 20
"""Threshold for a maximum that is far larger than the other numbers.

Such a maximum is at least FAR, and more than FAR times the 90th percentile of the absolute values.
"""
CODES = [number for nines in (99, 999, 9999, 99999, 999999) for number in (nines, -nines)]
CODES += [-1, -9, -88, -888, -8888, -77, -777, -7777]
"""Numbers that mean a missing value in many files."""
FARTHER = 100
"""Threshold for a repeated number that probably means a missing value.

Its distance to all other numbers is more than FARTHER times their range and their largest absolute value.
"""
MARKS = ("?", "-", "--", ".", "*", "#", "n.a.", "n.d.", "n/d", "missing", "(missing)", "[missing]")
"""Texts that mean an empty cell in many files."""
CALLED = re.compile(r"(^|[_\W])(id|ids|uuid|guid|key|index)$|[a-z](ID|Id|Key|Index)$|^(ID|Id|Key|Index|UUID)$")
"""Pattern of column names for identifiers."""
CURRENCY = r"[$€£¥₹₽₩]|USD|EUR|GBP|CHF|JPY|CAD|AUD|SEK|NOK|DKK|PLN|kr|zł|Fr\.?|Rs\.?"
UNIT = r"[%‰]|kg|g|mg|km|m|cm|mm|l|L|ml|mL|°C|°F|°"
NUMBER = re.compile(rf"[-+]?\s*({CURRENCY})?\s*([-+]?\d[\d.,'\u2019 \u00a0\u202f]*)({CURRENCY}|{UNIT})?")
"""A number with an optional sign, and an optional currency or unit."""
PLAIN_DATE = re.compile(r"(?:1[89]|20|21)\d{6}")
"""A date written as a whole number: year, month and day."""
BRACKETS = "()"
"""Marks a number in brackets, in place of its unit."""
GROUPED = re.compile(r"\d{1,3}([.,'\u2019 \u00a0\u202f])\d{3}(\1\d{3})*")
"""A whole number with thousands marks."""


def doubt_same(profile: Profile) -> str:
    """Returns a warning if nearly all rows have the same value."""
    rows = len(profile.values)
    if not profile.comparable or rows < FEWEST or profile.counts.max() < SAME * rows:
        return ""
    value = brief(value_repr(profile.counts.idxmax()), 30)
    share = f"{100 * profile.counts.max() / rows:.3g}"
    return f"{share} % of the rows have the same value, {value}: to leave it out write {profile.otherwise('ignore')}"


def doubt_missing(profile: Profile) -> str:
    """Returns a warning if a number or a text probably means a missing value."""
    found = _code(profile) if profile.kind in ("integer", "number") else _mark(profile)
    if found is None:
        return ""
    if profile.kind in ("integer", "number"):
        return f"if {found} stands for a missing value, replace it by an empty cell, or write {missing_option(found)}"
    return f"if {found!r} is for an empty cell, say so when the file is read: {missing_option(found)}"


def missing_option(text: str) -> str:
    """Returns the option that declares a text as a missing value.

    Example:
        >>> missing_option("-999"), missing_option("?")
        ('--missing=-999', "'--missing=?'")
    """
    return shell_quote(f"--missing={text}")


def _mark(profile: Profile) -> str | None:
    marks = [text for text in profile.counts.index if isinstance(text, str) and text.strip().casefold() in MARKS]
    return marks[0] if marks else None


def _code(profile: Profile) -> str | None:
    """Returns the smallest or the largest number if it is far from all others and probably means a missing value."""
    values = profile.values.to_numpy(np.float64)
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


def doubt_date(profile: Profile) -> str:
    """Returns a warning if whole numbers of eight digits are dates, such as 20210301."""
    texts = [f"{number:08}" for number in profile.first]
    if len(texts) < 3 or not all(map(_is_plain_date, texts)):
        return ""
    first, ignored = texts[0], profile.otherwise("ignore")
    return (
        f"all are dates, such as {first}, and a predicted number may be none: write dates as "
        f"{first[:4]}-{first[4:6]}-{first[6:]} to have them taken so, or leave them out with {ignored}"
    )


def _is_plain_date(text: str) -> bool:
    return PLAIN_DATE.fullmatch(text) is not None and read_date("%Y%m%d", text) is not None


def doubt_padded(profile: Profile) -> str:
    """Returns a warning if classes differ only in white space or upper and lower case."""
    alike: dict[str, list[str]] = {}
    for name in map(class_name, profile.counts.index):
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(map(repr, names[:3]))
            return f"{listed} are different classes: if they are the same, write them alike in the file"
    return ""


def doubt_identifier(profile: Profile) -> str:
    """Returns a warning if a column is named like an identifier and nearly all of its values differ."""
    different, rows = len(profile.counts), len(profile.values)
    if not CALLED.search(profile.name) or not NEARLY * rows <= different or FEWEST > rows > different:
        return ""
    if different == rows:
        return f"no two rows have the same: if it is an identifier write {profile.otherwise('ignore')}"
    return (
        f"{different:,} of {rows:,} rows have a value of their own: if it is an identifier write "
        f"{profile.otherwise('ignore')}"
    )


def is_row_number(profile: Profile) -> bool:
    """Returns whether whole numbers are row numbers of this table, or of a table from which these rows were sampled.

    Row numbers are at least 3 and all different. In addition, they are consecutive in any order, or differ from the row
    index by a constant, or are so dense that numbers sampled from their range would not all differ by chance: their
    range is at most twice their number, and the probability of no repetition is below CHANCE.
    """
    values = profile.values.to_numpy()
    rows, span = len(values), int(values.max()) - int(values.min()) + 1
    if not 3 <= rows == len(profile.counts):
        return False
    if span == rows:
        return True
    behind = profile.values.astype("int64") - profile.values.index.to_numpy("int64")
    if behind.nunique() == 1:
        return True
    return span <= 2 * rows and _by_chance(rows, span) < CHANCE


def _by_chance(rows: int, span: int) -> float:
    """Returns the probability that n = `rows` numbers, sampled uniformly from 1..s with s = `span`, all differ.

    The probability is the product over i = 0..n-1 of (1 - i / s).
    """
    return float(np.exp(np.log1p(-np.arange(rows) / span).sum()))


def is_skewed(values: np.ndarray) -> bool:
    """Returns whether to suggest the transformation log(1 + x), because a few numbers are far larger than the others.

    All numbers x must be above -1. Either the maximum is far larger than the others (see FAR), or the skewness of at
    least FEWEST numbers is above SKEWED and the transformation reduces it to less than half.
    """
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


def is_number(text: str) -> bool:
    """Returns whether a text is a finite number; "Nan" and "Infinity" are not, because they may be names."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False


class NumberTexts(NamedTuple):
    """Description of texts that are numbers in a format that is not read as a number."""

    what: str
    """Format of the texts, such as "with a decimal comma"."""
    example: str
    way: str
    """Advice on how to read them as numbers."""

    @classmethod
    def of(cls, profile: Profile) -> NumberTexts | None:
        """Describes the texts of a column; None if fewer than 9 in 10 are such numbers, or if they are plain numbers.

        Example:
            >>> import pandas as pd
            >>> NumberTexts.of(Profile.of(pd.DataFrame({"x": ["$3.50", "$12", "$0.75"]}), "x"))
            NumberTexts(what='with a currency or a unit', example='$3.50', way='write them without it')
        """
        if profile.kind != "text" or not mostly(profile.first, _parts):
            return None
        return cls.of_texts(profile.first)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> NumberTexts | None:
        """Describes a format of at least 1 in 10 of the texts that may be numbers; None if they are plain numbers."""
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
    """Splits a text that may be a number into the text, its digits with their marks, and its currency or unit."""
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
