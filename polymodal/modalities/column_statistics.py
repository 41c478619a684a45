"""What modalities learn from the cells of a column: classes, units, lengths of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log2
from typing import Any

import numpy as np

from polymodal.modalities.cells import CellError, class_name, numbers, texts
from polymodal.modalities.profile import Profile
from polymodal.modalities.tokens import count_tokens
from polymodal.runtime.formatting import brief, format_count

__all__ = [
    "MOST_WORDS",
    "class_names",
    "count_partial_rows",
    "format_partial_rows",
    "has_number_lists",
    "is_list",
    "is_list_of_numbers",
    "list_units",
    "message_cut",
    "number_units",
    "sort_names",
    "usual_length",
]

LONGEST_TEXT = 64
"""Default for the largest length of a text, in tokens."""
MOST_TOKENS = 512
"""Largest length of a text that a message suggests, in tokens."""
MOST_WORDS = 5000
"""Largest size of a vocabulary; a decoder has one output for each word at each position."""
COUNTED = 10_000
"""Largest number of texts whose tokens are counted to choose a length."""


def class_names(profile: Profile) -> tuple[str, ...]:
    """Returns the names of the classes of a column, in order.

    Numbers, also those in texts, are sorted by size, categories by their order, and all other values alphabetically.

    Raises:
        ValueError: The cells are neither texts nor numbers.
    """
    if not profile.comparable:
        raise ValueError(f"{profile.name!r} must hold texts or numbers to be a label; got {profile.types}")
    if profile.kind == "boolean":
        return "False", "True"
    if profile.kind == "category":
        found = list(profile.cells.cat.remove_unused_categories().cat.categories)
    elif profile.kind in ("integer", "number"):
        found = profile.cells.iloc[np.unique(profile.values, return_index=True)[1]].tolist()
    else:
        found = sort_names(map(class_name, profile.cells.unique()))
    return tuple(dict.fromkeys(map(class_name, found)))


def number_units(profile: Profile, log: bool = False) -> tuple[float, float]:
    """Returns the mean and the standard deviation of the cells, or of log(1 + x) if `log` is true.

    Raises:
        ValueError: A cell is not a number, or has no logarithm.
    """
    values = _numbers(profile)
    if log:
        if len(odd := np.flatnonzero(values <= -1)):
            why = f"numbers with log must be above -1; got {values[odd[0]]:g}; write {profile.otherwise('number')}"
            raise profile.wrong(odd[0], why)
        values = np.log1p(values)
    return _units(values)


def _numbers(profile: Profile) -> np.ndarray:
    """Returns the cells as float64 numbers; dates become days since 1970.

    Raises:
        ValueError: A cell is not a number; the error names its row.
    """
    if profile.kind in ("integer", "number"):
        return profile.values.to_numpy(np.float64)
    try:
        return numbers(profile.cells)
    except CellError as error:
        raise profile.wrong(error.row, error.why) from error


def _units(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean and the standard deviation, which is 1 if all numbers are the same; 0 and 1 without numbers."""
    if not len(values):
        return 0.0, 1.0
    power = int(np.frexp(np.abs(values).max())[1])  # a power of 2 avoids overflow and loses no precision
    small = np.ldexp(values, -power)
    center, scale = (float(np.ldexp(number, power)) for number in (small.mean(), small.std()))
    return center, scale if values.min() < values.max() and 0 < scale < np.inf else 1.0


def list_units(profile: Profile) -> list[tuple[float, float]]:
    """Returns the mean and the standard deviation of each position in lists of numbers, some of which may be missing.

    Raises:
        ValueError: The cells are not lists of equally many finite numbers.
    """
    if not all(is_list(cell) for cell in profile.values):
        raise ValueError(f"{profile.name!r} must hold lists of numbers to be a vector; got {profile.types}")
    sizes = profile.values.map(len).to_numpy()
    if len(odd := np.flatnonzero(sizes != sizes[0])):
        raise profile.wrong(
            odd[0],
            f"lists must be as long as in row {profile.values.index[0]}, {sizes[0]}; got {sizes[odd[0]]}; cut or fill "
            f"them, or write {profile.otherwise('ignore')}",
        )
    try:
        values = np.array(profile.values.tolist(), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{profile.name!r} must hold lists of numbers to be a vector; {brief(error)}") from error
    if len(odd := np.flatnonzero(np.isinf(values).any(1))):
        raise profile.wrong(
            odd[0],
            "numbers must be finite; replace those that are not, leave the whole cell empty, or write "
            f"{profile.otherwise('ignore')}",
        )
    return [_units(column[~np.isnan(column)]) for column in values.T]


def count_partial_rows(*profiles: Profile) -> int:
    """Counts the rows that have some of the numbers of a vector, but not all.

    Arguments:
        *profiles: A column of lists of numbers, or several columns of numbers.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"a": [1, None, None], "b": [1, 2, None], "c": [[1, 2], [3, None], None]})
        >>> a, b, c = (Profile.of(frame, name) for name in frame)
        >>> count_partial_rows(a, b), count_partial_rows(c)
        (1, 1)
    """
    first, *others = profiles
    if others:
        rows = np.concatenate([profile.values.index.to_numpy() for profile in profiles])
        return int((np.unique(rows, return_counts=True)[1] < len(profiles)).sum())
    if first.comparable:
        return 0
    missing = np.isnan(np.array(first.values.tolist(), np.float64))
    return int((missing.any(1) & ~missing.all(1)).sum())


def format_partial_rows(*profiles: Profile) -> str:
    """Returns the number of partly observed rows of a vector as the end of a sentence; empty if there are none.

    Arguments:
        *profiles: See `count_partial_rows`.

    Example:
        >>> import pandas as pd
        >>> format_partial_rows(Profile.of(pd.DataFrame({"both": [[1, 2], [3, None]]}), "both"))
        '; 1 of 2 rows has only some of them'
    """
    if not (count := count_partial_rows(*profiles)):
        return ""
    have = "have" if count > 1 else "has"
    return f"; {count:,} of {format_count(profiles[0].rows, 'row')} {have} only some of them"


def is_list(cell: Any) -> bool:
    """Returns whether a cell is a list, a tuple, or an array with one axis."""
    return isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.ndim == 1)


def has_number_lists(profile: Profile) -> bool:
    """Returns whether all cells of a column are lists, and the first one contains numbers."""
    lists = profile.kind == "object" and all(map(is_list, profile.values))
    return lists and is_list_of_numbers(profile.values.iloc[0])


def is_list_of_numbers(cell: Any) -> bool:
    """Returns whether a cell is a list with at least one element, all of which are numbers or missing."""
    return is_list(cell) and len(cell) > 0 and all(number is None or _is_real(number) for number in cell)


def _is_real(number: Any) -> bool:
    return isinstance(number, int | float | np.integer | np.floating)


def usual_length(held: Sequence[str]) -> int:
    """Returns a length in tokens that cuts at most 1 in 50 texts, but at most 64."""
    return min(LONGEST_TEXT, _percentile(_count_some(held)) + 1)


def message_cut(profile: Profile, length: int) -> str:
    """Returns a message about the number of cut texts; an empty string if at most 1 in 50 is cut.

    Arguments:
        profile: Column of texts.
        length: Length in tokens.
    """
    counts = _count_some(texts(profile.cells).tolist())
    cut = sum(count >= length for count in counts)
    if cut <= len(counts) / 50:
        return ""
    enough = min(MOST_TOKENS, 2 ** ceil(log2(_percentile(counts) + 1)))
    more = f": for more write {profile.otherwise(f'text:{enough}')}" if enough > length else ""
    are = "is" if cut == 1 else "are"
    return f"{cut:,} of {len(counts):,} texts {are} longer than {length} tokens and {are} cut{more}"


def _count_some(held: Sequence[str]) -> list[int]:
    """Returns the numbers of tokens of the texts, or of a regular subset of many texts."""
    return count_tokens(held[:: -(-len(held) // COUNTED)])


def _percentile(counts: list[int]) -> int:
    """Returns the 98th percentile of the lengths, rounded up."""
    return int(np.ceil(np.quantile(counts, 0.98)))


def sort_names(names: Iterable[str]) -> list[str]:
    """Sorts names by numeric value if all are numbers, otherwise alphabetically."""
    names = sorted(names)
    try:
        return sorted(names, key=float)
    except ValueError:
        return names
