"""Fills missing cells of columns with predictions, and keeps the types of the columns."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.modalities.cells import class_name, dense
from polymodal.tabular.list_cells import fill_items

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["is_valid_cell", "put", "put_arrow"]


def is_valid_cell(column: pd.Series, cells: Sequence[Any]) -> np.ndarray:
    """Returns which cells fit the type of a column, `(n,)` bool.

    A class that is not among the categories of the column does not fit, nor does a text that is not a date in a column
    of dates or not a number in a column of numbers. An empty text never fits, because it would still be missing. All
    other cells fit. A column of numbers without values accepts any text that is not empty.

    Example:
        >>> import pandas as pd
        >>> is_valid_cell(pd.Series(["owl", None], dtype="category"), ["owl", "emu"])
        array([ True, False])
    """
    import pandas as pd

    column = dense(column)
    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        known = {class_name(category) for category in kind.categories}
        return np.array([str(cell) in known for cell in cells], bool)
    if not (len(cells) and isinstance(cells[0], str)):
        return np.ones(len(cells), bool)
    if _has_dates(column):
        return dates(cells).notna().to_numpy()
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) and column.notna().any():
        return np.array([_is_number(cell) for cell in cells], bool)
    return np.array([bool(cell.strip()) for cell in cells], bool)


def put(column: pd.Series, rows: np.ndarray, cells: Sequence[Any]) -> pd.Series:
    """Returns a column with new cells in some rows; the other rows and the type do not change.

    Cells that do not fit the type are left out, see `is_valid_cell`. Of a list with missing numbers, only these are
    replaced. A column of floats without values, such as an
    empty column of a file, becomes a column of objects if the cells are not numbers.

    Arguments:
        column: Column of N cells.
        rows: Positions of the rows to replace, `(n,)` int64.
        cells: Cells as modalities write them: names of classes, numbers, texts, lists, bytes.

    Example:
        >>> import pandas as pd
        >>> put(pd.Series([1, None, 3], dtype="Int64"), np.array([1]), [1.6]).tolist()
        [1, 2, 3]
    """
    import pandas as pd

    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f" and len(cells) and isinstance(cells[0], float):
        made = column.to_numpy(copy=True)
        made[rows] = cells
        return pd.Series(made, column.index, name=column.name)
    fits = is_valid_cell(column, cells)
    if not fits.all():
        rows, cells = rows[fits], [cell for cell, fit in zip(cells, fits, strict=True) if fit]
    if isinstance(column.dtype, pd.SparseDtype):
        return put(dense(column), rows, cells).astype(column.dtype)
    made = column.copy()
    if isinstance(column.dtype, pd.ArrowDtype) and _is_list_type(column.dtype.pyarrow_dtype):
        made.array[:] = pd.array(put_arrow(_to_arrow(column), rows, cells), dtype=column.dtype)
        return made
    if pd.api.types.is_float_dtype(column.dtype) and not _are_numbers(cells):
        made = made.astype(object)
    new = _like(made, cells)
    if len(cells) and isinstance(cells[0], np.ndarray):
        new[:] = [fill_items(cell, other) for cell, other in zip(made.iloc[rows], new, strict=True)]
    made.iloc[rows] = new
    return made


def put_arrow(column: pa.Array, rows: np.ndarray, cells: Sequence[Any]) -> pa.Array:
    """Returns an Arrow array with new cells in some rows, like `put`; an array of type null does not change.

    Example:
        >>> import pyarrow as pa
        >>> put_arrow(pa.array([1, None, 3], pa.int8()), np.array([1]), [1.6]).to_pylist()
        [1, 2, 3]
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return column
    if isinstance(kind, pa.BaseExtensionType):
        return kind.wrap_array(put_arrow(column.storage, rows, cells))
    if pa.types.is_dictionary(kind):
        places = {class_name(value): place for place, value in enumerate(column.dictionary.to_pylist())}
        further = [cell for cell in dict.fromkeys(map(str, cells)) if cell not in places]
        places |= {cell: len(places) + place for place, cell in enumerate(further)}
        codes = pa.array([places[str(cell)] for cell in cells], kind.index_type)
        categories = pa.concat_arrays([column.dictionary, _arrow(kind.value_type, further)])
        return pa.DictionaryArray.from_arrays(
            _replace_rows(column.indices, rows, codes), categories, ordered=kind.ordered
        )
    values = _arrow(kind, cells)
    if _is_list_type(kind):
        pairs = zip(rows.tolist(), values.to_pylist(), strict=True)  # view types do not support take
        values = pa.array([fill_items(column[row].as_py(), new) for row, new in pairs], kind)
    return _replace_rows(column, rows, values)


def _replace_rows(column: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    """Returns an array with new values in some rows."""
    import pyarrow as pa

    order = np.arange(len(column))
    order[rows] = len(column) + np.arange(len(rows))
    try:
        return pa.concat_arrays([column, values]).take(pa.array(order))
    except pa.ArrowNotImplementedError:  # view types support concatenation, but not take
        parts, start = [], 0
        for place, row in enumerate(rows):
            parts += [column[start:row], values[place : place + 1]]
            start = row + 1
        return pa.concat_arrays([*parts, column[start:]])


def _to_arrow(column: pd.Series) -> pa.Array:
    import pyarrow as pa

    array = pa.array(column.array)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_list_type(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _like(column: pd.Series, cells: Sequence[Any]) -> Any:
    """Converts cells to the type of a column."""
    import pandas as pd

    kind: Any = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        known = {class_name(category): category for category in kind.categories}
        return pd.Categorical([known[str(cell)] for cell in cells], dtype=kind)
    if isinstance(kind, pd.ArrowDtype):
        return pd.arrays.ArrowExtensionArray(_arrow(kind.pyarrow_dtype, cells))
    if pd.api.types.is_bool_dtype(kind):
        return pd.array([cell == "True" for cell in cells], dtype=kind)
    if pd.api.types.is_integer_dtype(kind):
        return pd.array(whole(cells, np.iinfo(getattr(kind, "numpy_dtype", kind))), dtype=kind)
    if pd.api.types.is_float_dtype(kind):
        return np.array(cells, np.float64).astype(getattr(kind, "numpy_dtype", kind))
    if pd.api.types.is_datetime64_any_dtype(kind):
        return _localize_dates(dates(cells), getattr(kind, "tz", None)).astype(kind).array
    if not pd.api.types.is_object_dtype(kind):
        return pd.array([str(cell) for cell in cells], dtype=kind)
    made = np.empty(len(cells), dtype=object)
    made[:] = [*map(_maker(column), cells)]
    return made


def _maker(column: pd.Series) -> Callable[[Any], Any]:
    """Returns a function that converts a cell to the type of the values in a column of objects."""
    import pandas as pd

    there = column.dropna()
    first = there.iloc[0] if len(there) else None
    match pd.api.types.infer_dtype(there):
        case "boolean":
            return lambda cell: cell == "True"
        case "integer":
            return lambda cell: whole([cell])[0]
        case "floating" | "mixed-integer-float":
            return float
        case "decimal":
            return _decimal_like(there)
        case "date" | "datetime":
            return lambda cell: _date(type(first), cell)
        case "string":
            return str
    return lambda cell: _match_type(first, cell)


def _decimal_like(cells: Iterable[Decimal]) -> Callable[[Any], Decimal]:
    """Returns a function that converts predictions to decimals, with the largest number of decimal places in `cells`.

    Example:
        >>> _decimal_like([Decimal("0.25"), Decimal("12")])(3.9394)
        Decimal('3.94')
    """
    exponents = [exponent for cell in cells if isinstance(exponent := cell.as_tuple().exponent, int)]
    places = max(0, -min(exponents, default=0))
    return lambda cell: Decimal(str(cell)) if isinstance(cell, str) else Decimal(f"{float(cell):.{places}f}")


def _match_type(first: Any, cell: Any) -> Any:
    """Converts a cell to the type of the first value of a column of lists, of arrays, or of dicts with files."""
    if isinstance(first, dict):
        return {**dict.fromkeys(first), "bytes": cell}
    if not isinstance(first, list | tuple | np.ndarray) or not isinstance(cell, np.ndarray):
        return cell
    kind = np.asarray([number for number in first if number is not None]).dtype
    cell = (cell.round() if kind.kind in "iu" else cell).astype(kind)
    return cell if isinstance(first, np.ndarray) else type(first)(cell.tolist())


def _date(kind: type, cell: Any) -> Any:
    """Converts a cell to a date or time of Python, or to a pandas timestamp."""
    import pandas as pd

    made = dates([cell]).iloc[0]
    if issubclass(kind, pd.Timestamp):
        return made
    return made.to_pydatetime() if issubclass(kind, datetime.datetime) else made.date()


def _arrow(kind: pa.DataType, cells: Sequence[Any]) -> pa.Array:
    """Converts cells to an Arrow array of a type."""
    import pyarrow as pa

    types = pa.types
    if types.is_boolean(kind):
        return pa.array([cell == "True" for cell in cells], kind)
    if types.is_integer(kind):
        return pa.array(whole(cells, np.iinfo(kind.to_pandas_dtype())), kind)
    if types.is_floating(kind):
        return pa.array(np.array(cells, np.float64)).cast(kind, safe=False)
    if types.is_decimal(kind):
        largest = Decimal((0, (9,) * kind.precision, -kind.scale))
        made = [Decimal(f"{float(cell):.{kind.scale}f}") for cell in cells]
        return pa.array([min(max(number, largest.copy_negate()), largest) for number in made], kind)
    if types.is_timestamp(kind):
        return pa.array(_localize_dates(dates(cells), kind.tz), from_pandas=True).cast(kind, safe=False)
    if types.is_temporal(kind):
        return pa.array(dates(cells), from_pandas=True).cast(kind, safe=False)
    if types.is_struct(kind):
        return pa.array([{"bytes": cell} for cell in cells], kind)
    if types.is_string(kind) or types.is_large_string(kind):
        return pa.array([str(cell) for cell in cells], kind)
    if _is_list_type(kind):
        return pa.array([_arrow(kind.value_type, cell).to_pylist() for cell in cells], kind)
    return pa.array(list(cells), kind)


def whole(cells: Sequence[Any], bounds: np.iinfo | None = None) -> list[int]:
    """Rounds numbers to the nearest whole numbers within bounds.

    Example:
        >>> whole([1.6, 300.0], np.iinfo("int8")), whole(["3"])
        ([2, 127], [3])
    """
    texts = len(cells) > 0 and isinstance(cells[0], str)  # keeps large whole numbers exact, which floats would not
    made = [round(Decimal(cell)) for cell in cells] if texts else [int(cell) for cell in np.rint(cells).tolist()]
    return made if bounds is None else [min(max(number, int(bounds.min)), int(bounds.max)) for number in made]


def dates(cells: Sequence[Any]) -> pd.Series:
    """Converts names of classes, texts, or days since 1970 to dates; a value that is not a date becomes NaT.

    Spaces in texts are ignored, because texts from a modality have spaces between their tokens.

    Example:
        >>> dates(["2007-11-11T08:30:00", "2007 - 11 - 11", "owl"]).dt.day.tolist()
        [11.0, 11.0, nan]
    """
    import pandas as pd

    if len(cells) and not isinstance(cells[0], str):
        return pd.to_datetime(pd.Series(cells, dtype="float64"), unit="D", errors="coerce").dt.round("us")
    texts = [cell.replace(" ", "").upper() for cell in cells]
    return pd.to_datetime(pd.Series(texts, dtype=object), errors="coerce", format="ISO8601")


def _localize_dates(dates: pd.Series, zone: Any) -> pd.Series:
    """Returns local times with their time zone.

    An ambiguous time is the first one of the two, and a nonexistent time is shifted forward to the next valid one.
    """
    return dates.dt.tz_localize(zone, ambiguous=np.ones(len(dates), bool), nonexistent="shift_forward")


def _has_dates(column: pd.Series) -> bool:
    """Returns whether a column has dates."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    return column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in ("date", "datetime")


def _are_numbers(cells: Sequence[Any]) -> bool:
    return not len(cells) or not isinstance(cells[0], str | bytes | np.ndarray) or all(map(_is_number, cells))


def _is_number(cell: Any) -> bool:
    try:
        return Decimal(cell).is_finite()
    except (InvalidOperation, TypeError, ValueError):
        return False
