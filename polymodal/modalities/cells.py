"""Reads cells of data frame columns as a modality's values, and detects missing cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.runtime.formatting import brief, value_repr

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CellError", "Column", "class_name", "dense", "format_unseen_values", "missing", "numbers", "texts"]

FEW = 1000
"""Number of texts below which a loop over them takes less time than a method of pandas."""
MOST_LISTED = 5
"""Maximum number of unknown classes or words that a message lists."""


class CellError(ValueError):
    """The error for a cell that cannot be read.

    Arguments:
        row: Number of the cell's row, from 0.
        why: Description of the problem.
    """

    def __init__(self, row: int, why: object) -> None:
        super().__init__(f"row {row}: {brief(why)}")
        self.row, self.why = row, brief(why)


class Column(NamedTuple):
    """The values of N cells."""

    values: Tensor
    """Values, `(N, *shape)`; arbitrary where the cell is missing."""
    observed: Tensor
    """Observed mask, `(N,)` bool."""
    odd: tuple[tuple[str, int], ...] = ()
    """Unknown classes or words, which do not occur in training, with their number of occurrences."""
    unreadable: tuple[tuple[int, str], ...] = ()
    """Files that exist and cannot be read: row number and reason."""
    cut: int = 0
    """Number of texts that are longer than the modality allows and are truncated."""
    partial: int = 0
    """Number of vectors of which some numbers are observed, but which count as missing."""


def missing(column: pd.Series) -> np.ndarray:
    """Returns a mask of missing cells, `(N,)` bool: None, NaN, NaT, NA, and empty or blank texts."""
    import pandas as pd

    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return np.isnan(column.to_numpy())
    column = dense(column)
    nothing = column.isna().to_numpy(bool, copy=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        blank = np.append(missing(column.cat.categories.to_series()), False)  # the last element is for code -1
        return nothing | blank[column.cat.codes.to_numpy()]
    few_texts = len(column) < FEW and pd.api.types.is_string_dtype(column.dtype)
    if few_texts or pd.api.types.is_object_dtype(column.dtype):
        cells = column.to_numpy(object)
        return nothing | np.array([isinstance(cell, str) and not cell.strip() for cell in cells], bool)
    if pd.api.types.is_string_dtype(column.dtype):
        return nothing | (column.str.strip() == "").fillna(False).to_numpy(bool)
    return nothing


def dense(column: pd.Series) -> pd.Series:
    """Converts a column of pandas' sparse type to a dense one; other columns are returned unchanged.

    Example:
        >>> import pandas as pd
        >>> dense(pd.Series(pd.arrays.SparseArray([0.5, None, None]))).dtype
        dtype('float64')
    """
    import pandas as pd

    return column.sparse.to_dense() if isinstance(column.dtype, pd.SparseDtype) else column


def numbers(column: pd.Series) -> np.ndarray:
    """Converts cells to float64, `(N,)`: missing cells to NaN, dates to days since 1970.

    Raises:
        CellError: A cell is not a number, or is infinite.
    """
    import pandas as pd

    kind = column.dtype
    if kind == np.float64 and isinstance(kind, np.dtype):
        made = column.to_numpy(copy=True)
    elif pd.api.types.is_datetime64_any_dtype(kind):
        made = (column.dt.tz_localize(None) if getattr(kind, "tz", None) else column).astype("datetime64[us]")
        made = np.where(column.isna(), np.nan, made.to_numpy().astype("int64") / 86_400e6)
    elif pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        made = column.to_numpy(np.float64, na_value=np.nan, copy=True)
    else:
        made = np.array([_number(row, cell) for row, cell in enumerate(column.to_numpy(object))], np.float64)
    if len(odd := np.flatnonzero(np.isinf(made))):
        raise CellError(int(odd[0]), f"numbers must be finite; got {made[odd[0]]}; replace it, or leave the cell empty")
    return made


def class_name(cell: Any) -> str:
    """Returns the name of the class that a cell contains.

    Example:
        >>> class_name("cat"), class_name(3), class_name(3.0), class_name(True)
        ('cat', '3', '3', 'True')
        >>> class_name(datetime(2007, 11, 11)), class_name(datetime(2007, 11, 11, 8, 30))
        ('2007-11-11', '2007-11-11T08:30:00')
    """
    if isinstance(cell, np.number | np.bool_):
        cell = cell.item()  # a number has the same name for all numeric types
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None).isoformat().removesuffix("T00:00:00")
    return str(cell)


def texts(column: pd.Series) -> np.ndarray:
    """Converts cells to texts, `(N,)`: missing cells to empty texts, cells that are not texts by `class_name`."""
    return column.astype(object).mask(missing(column), "").map(class_name).to_numpy(object)


def format_unseen_values(odd: Counter[str], one: str, several: str) -> str:
    """Formats a message about values that the schema does not have.

    Arguments:
        odd: Number of occurrences of each value.
        one: Singular noun for a value.
        several: Plural noun for values.

    Example:
        >>> format_unseen_values(Counter({"owl": 2, "emu": 1}), "class", "classes")
        "2 classes that are not in the schema occur 3 times, and are treated as unknown: 'owl' (2), 'emu' (1)"
    """
    most = ", ".join(f"{name!r} ({times})" for name, times in odd.most_common(MOST_LISTED))
    rest = f" and {len(odd) - MOST_LISTED} more" if len(odd) > MOST_LISTED else ""
    times = f"{odd.total():,} times" if odd.total() > 1 else "once"
    what, occur, be = (several, "occur", "are") if len(odd) > 1 else (one, "occurs", "is")
    return f"{len(odd):,} {what} that {be} not in the schema {occur} {times}, and {be} treated as unknown: {most}{rest}"


def one_by_one(cells: Iterable[Any], nothing: np.ndarray, blank: Tensor, read: Any) -> Tensor:
    """Applies `read` to each cell that is not missing.

    Arguments:
        cells: N cells.
        nothing: Mask of missing cells, `(N,)` bool.
        blank: Value of missing cells, `(*shape)`.
        read: Function from a cell to a tensor `(*shape)`.

    Returns:
        The values, `(N, *shape)`.

    Raises:
        CellError: A cell cannot be read.
    """
    values = blank.expand(len(nothing), *blank.shape).clone()
    for row, cell in enumerate(cells):
        if not nothing[row]:
            try:
                values[row] = read(cell)
            except (ValueError, TypeError, RuntimeError, OverflowError) as error:
                raise CellError(row, error) from error
    return values


def read_files(column: pd.Series, blank: Tensor, read: Any, damaged: tuple[type[Exception], ...]) -> Column:
    """Applies `read` to cells that contain files or their names.

    Files that do not exist or are damaged become missing values. The result lists the damaged ones.

    Arguments:
        column: N cells.
        blank: Value of missing cells, `(*shape)`.
        read: Function from a cell to a tensor `(*shape)`.
        damaged: Exceptions that `read` raises for damaged files.
    """
    nothing = missing(column)
    values = blank.expand(len(column), *blank.shape).clone()
    unreadable = []
    for row, cell in enumerate(column):
        if nothing[row]:
            continue
        try:
            values[row] = read(cell)
        except FileNotFoundError:
            nothing[row] = True
        except damaged as error:
            nothing[row] = True
            unreadable.append((row, brief(error, 100)))
    return Column(values, to_observed_mask(nothing), unreadable=tuple(unreadable))


def to_observed_mask(nothing: np.ndarray) -> Tensor:
    """Converts a mask of missing cells to an observed mask, `(N,)` bool."""
    return torch.from_numpy(~nothing)


def _nothing(cell: Any) -> bool:
    import pandas as pd

    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)


def _number(row: int, cell: Any) -> float:
    if _nothing(cell):
        return float("nan")
    try:
        if isinstance(cell, complex):
            raise TypeError  # numpy would drop the imaginary part
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise CellError(
            row, f"the value must be a number; got {brief(value_repr(cell), 100)}; correct it, or leave the cell empty"
        ) from None
