"""Cells that are lists of numbers, some of which may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.modalities.column_statistics import is_list

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fill_items", "find_gaps"]


def find_gaps(column: pd.Series) -> np.ndarray:
    """Returns which cells are lists with a missing number, None or NaN, `(N,)` bool.

    Example:
        >>> import pandas as pd
        >>> find_gaps(pd.Series([[1.0, 2.0], [1.0, None], None]))
        array([False,  True, False])
    """
    if not (column.dtype == object or "list" in str(column.dtype)):
        return np.zeros(len(column), bool)
    return np.array([is_list(cell) and any(map(_is_missing, cell)) for cell in column], bool)


def fill_items(cell: Any, new: Any) -> Any:
    """Returns a list with the missing numbers replaced by those of another list; a cell of another type becomes `new`.

    Arguments:
        cell: List, tuple or array with one axis; all its other items stay as they are.
        new: List of the same length.

    Example:
        >>> fill_items([1, None, 3.5], [7, 8, 9]), fill_items(None, [7, 8, 9])
        ([1, 8, 3.5], [7, 8, 9])
    """
    if not is_list(cell):
        return new
    if not isinstance(cell, np.ndarray):
        return type(cell)(other if _is_missing(item) else item for item, other in zip(cell, new, strict=True))
    filled = cell.copy()
    for place in (place for place, item in enumerate(cell) if _is_missing(item)):
        filled[place] = new[place]
    return filled


def _is_missing(item: Any) -> bool:
    return item is None or item != item
