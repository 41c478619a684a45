"""Date formats of columns of texts: the directives of `strptime`, with four extensions.

- `%-d`, and `-` with other numeric directives, writes a number without leading zeros.
- `%^b`, and `^` with other names, writes a name in capitals.
- `%3f` writes fractions of a second with this number of digits.
- `%:z` writes a time zone such as +01:00.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import product

__all__ = ["learn_date_format", "read_date", "write_date"]

ORDERS = ("%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")
NAMED = (
    "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d.%b.%Y", "%d-%b-%y", "%d %b %y", "%b %d, %Y", "%b %d %Y", "%d. %b %Y",
    "%a %d %b %Y", "%a, %d %b %Y", "%a, %b %d, %Y", "%b %Y", "%b-%Y", "%b-%y", "%Y-%b-%d", "%Y %b %d",
)  # fmt: skip
"""Formats with abbreviated names of months. `DATES` also contains them with full names."""
DATES = (
    *(order.format(mark) for order in ORDERS for mark in "-/. "),
    *NAMED,
    *(named.replace("%b", "%B").replace("%a", "%A") for named in NAMED),
    "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y",
)  # fmt: skip
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%H:%M:%S,%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%H:%M h")
ZONES = ("", "Z", "%z", " %z", " UTC", " GMT")
LONGEST = 50
"""Maximum number of characters of a date."""
WORDS = re.compile(
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?|[ap]m|utc|gmt|z|t|h",
    re.I,
)
SAMPLE = 200
"""Maximum number of dates with which candidate formats are compared."""
MOST = 0.9
"""Minimum fraction of a column's texts that must be dates in the same format."""
DIRECTIVE = re.compile(r"%([-^:]?)(\d?)([a-zA-Z])|(.)", re.S)


def learn_date_format(texts: Iterable[str]) -> str:
    """Returns the date format of at least 90 % of a column's texts; empty if there is none.

    Example:
        >>> learn_date_format(["3/1/2021 8:30 PM", "12/24/2021 9:05 AM"])
        '%-m/%-d/%Y %-I:%M %p'
        >>> learn_date_format(["5.25", "8.10"]), learn_date_format(["a bird", "2021-03-01"])
        ('', '')
    """
    texts = [text.strip() for text in texts]
    if not texts or sum(map(_may_be_date, texts)) < MOST * len(texts):
        return ""
    dates = [text for text in texts if _may_be_date(text)]
    few = dates[:: -(-len(dates) // SAMPLE)]
    best, most = "", MOST * len(few) - 0.5
    for plain in _candidates(few[0]):
        for form in _variants(plain, few):
            held = sum(_keeps(form, text) for text in few)
            if held > most:
                best, most = form, held
    return best if sum(_keeps(best, text) for text in dates) >= MOST * len(texts) else ""


def read_date(form: str, text: str) -> datetime | None:
    """Parses a date in this format, with any case and zero padding; returns None if it is not a date.

    Example:
        >>> read_date("%d.%m.%Y", "24.12.2021"), read_date("%d.%m.%Y", "12/24/2021"), read_date("%d.%m.%Y", "31.2.2021")
        (datetime.datetime(2021, 12, 24, 0, 0), None, None)
    """
    try:
        return datetime.strptime(text, re.sub(r"%[-^:]?\d?([a-zA-Z])", r"%\1", form))
    except ValueError:
        return None


def write_date(form: str, date: datetime) -> str:
    """Writes a date in this format.

    Example:
        >>> write_date("%-d %^b %Y, %H:%M:%S.%3f", datetime(2021, 3, 1, 8, 30, 0, 250_000))
        '1 MAR 2021, 08:30:00.250'
    """
    return "".join(_format_date_part(date, *match.groups("")) for match in DIRECTIVE.finditer(form))


def _format_date_part(date: datetime, flag: str, digits: str, letter: str, other: str) -> str:
    if other:
        return other
    text = f"{date.year:04}" if letter == "Y" else date.strftime(f"%{letter}")  # strftime may not pad years
    if flag == "-":
        return text.lstrip("0") or "0"
    if flag == ":":
        return f"{text[:3]}:{text[3:]}"
    return text.upper() if flag == "^" else text[: int(digits or len(text))]


def _keeps(form: str, text: str) -> bool:
    """Checks whether a text is exactly what the format writes for its date."""
    date = read_date(form, text) if form else None
    return date is not None and write_date(form, date) == text


def _may_be_date(text: str) -> bool:
    """Checks whether a text has a digit, at least two numbers or words, and no words except those of dates."""
    if len(text) > LONGEST or len(re.findall(r"\d+", text)) + len(re.findall(r"[A-Za-z]{3,}", text)) < 2:
        return False
    return re.search(r"\d", text) is not None and not re.search(r"[^\W\d_]", WORDS.sub("", text))


def _candidates(text: str) -> Iterator[str]:
    """Yields the formats, without variants, that can parse a text as a date."""
    clocks = [*(f"{time}{zone}" for time, zone in product(TIMES, ZONES))]
    for form in (*DATES, *TIMES):
        if read_date(form, text) is not None:
            yield form
    if ":" not in text:
        return
    begun = [date for date in DATES if _begins(date, text)]
    for date, mark, clock in product(begun, (" ", "T", ", ", "t"), clocks):
        if mark.strip() in text and read_date(f"{date}{mark}{clock}", text) is not None:
            yield f"{date}{mark}{clock}"


def _begins(form: str, text: str) -> bool:
    """Checks whether a text begins with the digits, names and marks of a date in this format."""
    shape = re.sub(r"%[YmdyH]|%[bBaA]|(.)", lambda match: _shape(match[0]), form)
    return re.match(shape, text) is not None


def _shape(part: str) -> str:
    return {"%Y": r"\d{4}", "%b": "[A-Za-z]+", "%B": "[A-Za-z]+", "%a": "[A-Za-z]+", "%A": "[A-Za-z]+"}.get(
        part, r"\d{1,2}" if part.startswith("%") else re.escape(part)
    )


def _variants(form: str, texts: Sequence[str]) -> Iterator[str]:
    """Yields variants of a format: without leading zeros, with capitals, with shorter fractions, with `%:z`."""
    yield form
    days = re.sub(r"%([dm])", r"%-\1", form)
    hours = re.sub(r"%([HI])", r"%-\1", form)
    both = re.sub(r"%([HI])", r"%-\1", days)
    for one in dict.fromkeys((form, days, hours, both)):
        for capital in dict.fromkeys((one, re.sub(r"%([bBaA])", r"%^\1", one))):
            for zone in dict.fromkeys((capital, capital.replace("%z", "%:z"))):
                yield zone
                if "%f" in zone and (fraction := re.search(r"[.,](\d{1,6})\D*(?:[+-][\d:]+)?$", texts[0])):
                    yield zone.replace("%f", f"%{len(fraction[1])}f")
