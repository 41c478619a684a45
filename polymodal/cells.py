"""Answers put into the holes of columns, in the columns' own types."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["put", "put_arrow"]


def put(column: pd.Series, rows: np.ndarray, cells: Sequence[Any]) -> pd.Series:
    """A column with cells in some of its rows; all others are as they were, and so is its type.

    A cell that the type cannot hold, such as a class that is none of its categories, is left out.

    Arguments:
        column: N cells.
        rows: Which are replaced, `(n,)` int64.
        cells: What modalities write: names of classes, numbers, texts, lists, bytes.

    Example:
        >>> import pandas as pd
        >>> put(pd.Series([1, None, 3], dtype="Int64"), np.array([1]), [1.6]).tolist()
        [1, 2, 3]
    """
    made = column.copy()
    made.iloc[rows] = _like(column, cells)
    return made


def put_arrow(column: pa.Array, rows: np.ndarray, cells: Sequence[Any]) -> pa.Array:
    """As `put`, of an Arrow array.

    Example:
        >>> import pyarrow as pa
        >>> put_arrow(pa.array([1, None, 3], pa.int8()), np.array([1]), [1.6]).to_pylist()
        [1, 2, 3]
    """
    import pyarrow as pa

    kind = column.type
    plain = column.dictionary_decode() if pa.types.is_dictionary(kind) else column
    order = np.arange(len(column))
    order[rows] = len(column) + np.arange(len(rows))
    made = pa.concat_arrays([plain, _arrow(plain.type, cells)]).take(pa.array(order))
    return made.cast(kind) if pa.types.is_dictionary(kind) else made


def _like(column: pd.Series, cells: Sequence[Any]) -> Any:
    """Cells as a column of that type takes them."""
    import pandas as pd

    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        known = {_name(category): category for category in kind.categories}
        return pd.Categorical([known.get(str(cell)) for cell in cells], dtype=kind)
    if pd.api.types.is_bool_dtype(kind):
        return pd.array([cell == "True" for cell in cells], dtype=kind)
    if pd.api.types.is_integer_dtype(kind):
        bounds = np.iinfo(getattr(kind, "numpy_dtype", kind))
        return pd.array([whole(cell, bounds) for cell in cells], dtype=kind)
    if pd.api.types.is_float_dtype(kind):
        return np.array([float(cell) for cell in cells], dtype=getattr(kind, "numpy_dtype", kind))
    if pd.api.types.is_datetime64_any_dtype(kind):
        return pd.Series(dates(cells)).dt.tz_localize(getattr(kind, "tz", None)).astype(kind).array
    if not pd.api.types.is_object_dtype(kind):
        return pd.array([str(cell) for cell in cells], dtype=kind)
    made = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):
        made[place] = _as(type(_first(column)), cell)
    return made


def _arrow(kind: pa.DataType, cells: Sequence[Any]) -> pa.Array:
    """Cells as an Arrow array of a type."""
    import pyarrow as pa

    types = pa.types
    if types.is_boolean(kind):
        return pa.array([cell == "True" for cell in cells], kind)
    if types.is_integer(kind):
        bounds = np.iinfo(kind.to_pandas_dtype())
        return pa.array([whole(cell, bounds) for cell in cells], kind)
    if types.is_floating(kind):
        return pa.array([float(cell) for cell in cells], pa.float64()).cast(kind)
    if types.is_decimal(kind):
        return pa.array([Decimal(f"{float(cell):.{kind.scale}f}") for cell in cells], kind)
    if types.is_temporal(kind):
        return pa.array(dates(cells), from_pandas=True).cast(kind, safe=False)
    if types.is_struct(kind):
        return pa.array([{"bytes": cell} for cell in cells], kind)
    if types.is_string(kind) or types.is_large_string(kind):
        return pa.array([str(cell) for cell in cells], kind)
    return pa.array(list(cells), kind)


def whole(cell: Any, bounds: np.iinfo) -> int:
    """The nearest whole number within bounds."""
    return min(max(round(float(cell)), int(bounds.min)), int(bounds.max))


def dates(cells: Sequence[Any]) -> pd.Series:
    """Dates of texts, between whose words stand blanks, or of days since 1970; NaT of what is none."""
    import pandas as pd

    if len(cells) and not isinstance(cells[0], str):
        return pd.to_datetime(pd.Series(cells, dtype="float64"), unit="D").dt.round("us")
    return pd.to_datetime(pd.Series([cell.replace(" ", "") for cell in cells]), errors="coerce", format="ISO8601")


def _first(column: pd.Series) -> Any:
    there = column.first_valid_index()
    return None if there is None else column.dropna().iloc[0]


def _as(kind: type, cell: Any) -> Any:
    """A cell as one of Python's types, of what else stands in the column."""
    if issubclass(kind, bool | np.bool_):
        return cell == "True"
    if issubclass(kind, int | np.integer):
        return kind(round(float(cell)))
    if issubclass(kind, float | np.floating | Decimal):
        return kind(float(cell))
    return cell


def _name(category: Any) -> str:
    from polymodal.modalities.column import class_name

    return class_name(category)
