"""Formats of columns: how texts in a column write numbers and booleans, and which texts are codes, not numbers.

The format of a column is the pattern of a number format (see `polymodal.modalities.formats`), or a pair of words such
as "FALSE|TRUE" for booleans. It begins with "text:" if the cells of the data frame are texts, rather than numbers that
a file writes in this format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from polymodal.modalities.cells import missing
from polymodal.modalities.formats import NumberFormat

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DATES",
    "FORMATS",
    "LOOKED_AT",
    "check_format",
    "choose_format",
    "code_reason",
    "format_of",
    "holds_texts",
    "keep_texts",
    "to_float",
    "write_texts",
]

FORMATS = "formats"
"""Name of the attribute of a data frame that contains the formats of a file's columns, by column name."""
OF_TEXTS = "text:"
DATES = "dates"
"""Format of a column of dates, as opposed to texts."""
BETWEEN = "|"
LOOKED_AT = 10_000
"""Maximum number of different texts from which the format of a column is learned."""
EXACT = 2.0**53
"""Above this value, floats cannot represent all integers."""
NUMERIC = ("integer", "floating", "mixed-integer-float", "integer-na")
"""Types that pandas infers for columns of numbers, including object columns, such as integers beyond 64 bits."""
CODES = {
    r"[+-]?0\d": "have leading zeros",
    r"\+\d{7}": "begin with a plus",
    r"[+-]?0*[1-9]\d{14,}0*[1-9]": "have more than 15 digits",
}
"""Patterns of integers that are codes rather than numbers, with the reason in words."""


def holds_texts(column: pd.Series, form: str = "") -> bool:
    """Checks whether a column's cells are texts; for an empty column, whether its training format says so."""
    import pandas as pd

    if not pd.api.types.is_object_dtype(column.dtype):
        return pd.api.types.is_string_dtype(column.dtype)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind == "string" or (kind == "empty" and form.startswith(OF_TEXTS))


def format_of(column: pd.Series, formats: Mapping[Any, str] | None = None) -> str:
    """Returns the format of a column: of its texts, or of those in the file from which it was read.

    It is "" if the format is unknown.

    Arguments:
        column: The column.
        formats: Formats of the file's columns by name; by default the attributes of the column have them.

    Example:
        >>> import pandas as pd
        >>> format_of(pd.Series(["5.25", None, "8.10"])), format_of(pd.Series([5.25, 8.1]))
        ('text:0.00', '')
    """
    if column.dtype.kind == "M":
        return DATES
    if holds_texts(column):
        made = _learn_number([cell for cell in column.unique() if isinstance(cell, str) and cell.strip()])
        return f"{OF_TEXTS}{made}" if made else ""
    return (column.attrs.get(FORMATS, {}) if formats is None else formats).get(column.name, "")


def check_format(form: str) -> None:
    """Checks that a text is a valid format of a column.

    Raises:
        ValueError: It is not.
    """
    boolean = form.count(BETWEEN) == 1 and all(part.isalpha() for part in form.split(BETWEEN))
    if form not in ("", DATES) and not boolean:
        NumberFormat.parse(form.removeprefix(OF_TEXTS))


def choose_format(known: str, own: str, cells: Sequence[Any] = ()) -> str:
    """Chooses between the format of a column's cells and the format learned in training.

    The format learned in training is based on more cells. It is used unless the column's cells contradict it.

    Arguments:
        known: Format learned in training.
        own: Format of the column's cells.
        cells: Cells of the column that are not missing.

    Example:
        >>> choose_format("0.00", ""), choose_format("0.0##", "0.00"), choose_format("0.0", "0.00")
        ('0.00', '0.0##', '0.00')
        >>> choose_format("000", "0", ["120"]), choose_format("000", "0", ["7", "120"])
        ('000', '0')
    """
    if not (known and own) or DATES in (known, own):
        return own or known
    if BETWEEN in own or BETWEEN in known:
        return own
    first, second = (NumberFormat.parse(form.removeprefix(OF_TEXTS)) for form in (known, own))
    return known if first.covers(second) or _write_alike(first, second, cells) else own


def write_texts(form: str, cells: Sequence[Any]) -> list[str]:
    """Writes cells in the format of a column: numbers, and names of classes that are numbers or booleans.

    Names of classes remain unchanged if the cells were texts in training.

    Example:
        >>> write_texts("0.00", [7.301, 12.0]), write_texts("0.0", ["7", "12"]), write_texts("text:0.0", ["7", "12"])
        (['7.30', '12.00'], ['7.0', '12.0'], ['7', '12'])
        >>> write_texts("FALSE|TRUE", ["True", "False"]), write_texts("", ["owl", 7.25])
        (['TRUE', 'FALSE'], ['owl', '7.25'])
    """
    if form in ("", DATES):
        return [*map(str, cells)]
    if all(isinstance(cell, str) for cell in cells):
        return _write_names(form, cells)
    number = None if _is_boolean(form) else NumberFormat.parse(form.removeprefix(OF_TEXTS))
    return [str(cell) if number is None or isinstance(cell, str) else number.write(float(cell)) for cell in cells]


def keep_texts(
    frame: pd.DataFrame, texts: pd.DataFrame, decimal: str = ".", thousands: str | None = None
) -> pd.DataFrame:
    """Adds information from the texts of a file to its rows: formats of columns, and codes that are not numbers.

    Arguments:
        frame: N rows with the values that pandas reads.
        texts: The same cells as texts of the file.
        decimal: Decimal mark.
        thousands: Thousands separator, which formats do not keep.

    Returns:
        The frame. A column of integers is replaced by its texts if some have leading zeros, a plus followed by at least
        7 digits, or more than 15 digits. The formats of the other columns are in its attributes.

    Example:
        >>> import pandas as pd
        >>> texts = pd.DataFrame({"code": ["007", "120"], "price": ["5.20", "8.10"]})
        >>> frame = keep_texts(texts.astype(float), texts)
        >>> frame["code"].tolist(), frame.attrs["formats"]
        (['007', '120'], {'price': '0.00'})
    """
    import pandas as pd

    made, formats = frame.copy(deep=False), {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if holds_texts(column):
            continue
        there = ~missing(column)
        written = texts.iloc[:, place].str.strip()
        numeric = pd.api.types.infer_dtype(column, skipna=True) in NUMERIC
        if numeric and code_reason(written[there]):
            made.isetitem(place, written.where(there).array)
            continue
        written = written.str.replace(thousands, "", regex=False) if numeric and thousands else written
        written = written.str.replace(decimal, ".", regex=False) if numeric and decimal != "." else written
        if (
            form := _learn_number([*written[there].unique()])
            if numeric
            else _learn_boolean(column[there], written[there])
        ):
            formats[name] = form
    made.attrs[FORMATS] = formats
    return made


def code_reason(texts: pd.Series) -> str:
    """Returns the reason why texts that are all integers are codes rather than numbers; empty if they are not codes.

    Example:
        >>> import pandas as pd
        >>> code_reason(pd.Series(["00501", "10001"])), code_reason(pd.Series(["501", "10001"]))
        ('have leading zeros', '')
        >>> code_reason(pd.Series(["01.5", "10.0"]))
        ''
    """
    for pattern, words in CODES.items():
        if texts.str.match(pattern).any():
            return words if texts.str.fullmatch(r"[+-]?\d+").all() else ""
    return ""


def _write_alike(one: NumberFormat, other: NumberFormat, cells: Sequence[Any]) -> bool:
    """Checks whether cells contain numbers, and two formats write all of them with the same characters."""
    numbers = {number for cell in cells if (number := to_float(cell)) is not None}
    return bool(numbers) and all(one.write(number) == other.write(number) for number in numbers)


def to_float(cell: Any) -> float | None:
    """Converts a cell to a finite float, or to None if it is none.

    Example:
        >>> to_float("1.50"), to_float(2), to_float("oak"), to_float("inf")
        (1.5, 2.0, None, None)
    """
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _learn_number(texts: Sequence[str]) -> str:
    """Returns the number format of different texts; empty if they have none."""
    made = NumberFormat.learn([*texts[:: -(-len(texts) // LOOKED_AT) or 1]])
    return "" if made is None else str(made)


def _learn_boolean(values: pd.Series, texts: pd.Series) -> str:
    """Returns the most frequent texts for false and true as a format; empty unless all are booleans and both occur."""
    if not values.isin([True, False]).all():
        return ""
    written = [texts[(values == value).to_numpy(bool)].mode() for value in (False, True)]
    if any(not len(most) for most in written):
        return ""
    return BETWEEN.join(most.iloc[0] for most in written)


def _is_boolean(form: str) -> bool:
    return form.replace(BETWEEN, "", 1).isalpha()


def _write_names(form: str, names: Sequence[str]) -> list[str]:
    if form.startswith(OF_TEXTS):
        return [*names]
    if _is_boolean(form):
        false, true = form.split(BETWEEN)
        return [true if name == "True" else false if name == "False" else name for name in names]
    number = NumberFormat.parse(form)
    return [_write_name(number, name) for name in names]


def _write_name(number: NumberFormat, name: str) -> str:
    value = to_float(name)
    return name if value is None or abs(value) >= EXACT else number.write(value)
