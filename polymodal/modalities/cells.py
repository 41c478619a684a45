"""A column of a data frame as a modality's values, and what it does not say."""

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

__all__ = ["CellError", "Column", "class_name", "counted", "dense", "missing", "numbers", "texts"]

MOST_LISTED = 5
"""Odd cells that a sentence names."""


class CellError(ValueError):
    """A cell that cannot be read.

    Arguments:
        row: Where it stands, from 0.
        why: What is wrong with it.
    """

    def __init__(self, row: int, why: object) -> None:
        super().__init__(f"row {row}: {brief(why)}")
        self.row, self.why = row, brief(why)


class Column(NamedTuple):
    """What N cells hold."""

    values: Tensor
    """`(N, *shape)`; anything where there is none."""
    observed: Tensor
    """Whether there is one, `(N,)` bool."""
    odd: tuple[tuple[str, int], ...] = ()
    """What is taken as unknown, and in how many rows: classes or words that training never saw."""
    unreadable: tuple[tuple[int, str], ...] = ()
    """Files that are there and cannot be read: row, and why."""
    cut: int = 0
    """How many texts are longer than the modality, and are cut."""


def missing(column: pd.Series) -> np.ndarray:
    """Which cells hold nothing, `(N,)` bool: None, NaN, NaT, NA, and texts of white space alone."""
    import pandas as pd

    column = dense(column)
    nothing = column.isna().to_numpy(bool, copy=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        blank = np.append(missing(column.cat.categories.to_series()), False)  # the last is for the code -1
        return nothing | blank[column.cat.codes.to_numpy()]
    if pd.api.types.is_object_dtype(column.dtype):
        cells = column.tolist()
        return nothing | np.array([isinstance(cell, str) and not cell.strip() for cell in cells], bool)
    if pd.api.types.is_string_dtype(column.dtype):
        return nothing | (column.str.strip() == "").fillna(False).to_numpy(bool)
    return nothing


def dense(column: pd.Series) -> pd.Series:
    """Returns a column that stores all its cells; one of pandas' sparse type stores only some.

    Example:
        >>> import pandas as pd
        >>> dense(pd.Series(pd.arrays.SparseArray([0.5, None, None]))).dtype
        dtype('float64')
    """
    import pandas as pd

    return column.sparse.to_dense() if isinstance(column.dtype, pd.SparseDtype) else column


def numbers(column: pd.Series) -> np.ndarray:
    """The cells as float64 `(N,)`, NaN where there is none; of dates the days since 1970.

    Raises:
        CellError: A cell is no number, or infinite.
    """
    import pandas as pd

    kind = column.dtype
    if pd.api.types.is_datetime64_any_dtype(kind):
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
    """What a class is called whose cells hold this.

    Example:
        >>> class_name("cat"), class_name(3), class_name(3.0), class_name(True)
        ('cat', '3', '3', 'True')
        >>> class_name(datetime(2007, 11, 11)), class_name(datetime(2007, 11, 11, 8, 30))
        ('2007-11-11', '2007-11-11T08:30:00')
    """
    if isinstance(cell, np.number | np.bool_):
        cell = cell.item()  # so that a number of any type has one name
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None).isoformat().removesuffix("T00:00:00")
    return str(cell)


def texts(column: pd.Series) -> np.ndarray:
    """The cells as texts, `(N,)`, empty where there is none; all that is no text as `class_name` has it."""
    return column.astype(object).mask(missing(column), "").map(class_name).to_numpy(object)


def counted(odd: Counter[str], one: str, several: str) -> str:
    """A sentence on what training never saw.

    Example:
        >>> counted(Counter({"owl": 2, "emu": 1}), "class", "classes")
        "2 classes that training never saw stand 3 times, and are taken as unknown: 'owl' (2), 'emu' (1)"
    """
    most = ", ".join(f"{name!r} ({times})" for name, times in odd.most_common(MOST_LISTED))
    rest = f" and {len(odd) - MOST_LISTED} more" if len(odd) > MOST_LISTED else ""
    times = f"{odd.total():,} times" if odd.total() > 1 else "once"
    what, stand, are = (several, "stand", "are") if len(odd) > 1 else (one, "stands", "is")
    return f"{len(odd):,} {what} that training never saw {stand} {times}, and {are} taken as unknown: {most}{rest}"


def one_by_one(cells: Iterable[Any], nothing: np.ndarray, blank: Tensor, read: Any) -> Tensor:
    """What `read` makes of each cell that holds something, `(N, *shape)`.

    Raises:
        CellError: It cannot read one.
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
    """What `read` makes of cells that hold files, or their names.

    One that is not there is not observed, nor one that is damaged: of these it is said where they are.

    Arguments:
        column: N cells.
        blank: What stands where there is nothing, `(*shape)`.
        read: Of a cell.
        damaged: What it raises of a file that it cannot read.
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
    return Column(values, observed(nothing), unreadable=tuple(unreadable))


def observed(nothing: np.ndarray) -> Tensor:
    """The rows that hold something, `(N,)` bool."""
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
            raise TypeError  # of which numpy would drop a part
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise CellError(
            row, f"a number must stand here; got {brief(value_repr(cell), 100)}; correct it, or leave the cell empty"
        ) from None
