"""Imputed cells of data frames, and the columns that describe them.

A column of certainties may follow each imputed column, and a last column may list the imputed columns of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.modalities.cells import dense
from polymodal.tabular.filling import put, put_arrow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "FILLED",
    "HIGH",
    "LOW",
    "SURE",
    "ImputedCells",
    "add_to_batch",
    "add_to_frame",
    "concat_cells",
    "format_added_columns",
    "remove_attributes",
]

FILLED = "filled"
"""Name of the column that lists the imputed columns of each row."""
SURE = "_sure"
"""Suffix that is appended to the name of a column to name the column with the certainty of its imputed cells."""
LOW, HIGH = "_low", "_high"
"""Suffixes that are appended to the name of a column to name the columns with the ends of intervals."""


class ImputedCells(NamedTuple):
    """Imputed cells of a column."""

    rows: np.ndarray
    """Row numbers of the imputed cells, `(n,)` int64."""
    cells: Sequence[Any]
    """The n imputed cells."""
    sure: np.ndarray
    """Certainty of the cells, `(n,)`; NaN where it is not available.

    It is the probability of a class, or the standard deviation of a number.
    """
    low: Sequence[Any] = ()
    """The n lower ends of intervals, in the units and types of the cells; empty if there are none."""
    high: Sequence[Any] = ()
    """The n upper ends."""


def concat_cells(chunks: Sequence[Mapping[str, ImputedCells]], starts: Sequence[int]) -> dict[str, ImputedCells]:
    """Concatenates the imputed cells of chunks into those of the complete table.

    Arguments:
        chunks: Imputed cells of each chunk, by column.
        starts: Row number in the table of the first row of each chunk.

    Example:
        >>> one = ImputedCells(np.array([1]), ["owl"], np.array([0.9]))
        >>> concat_cells([{"kind": one}, {"kind": one}], [0, 4])["kind"].rows.tolist()
        [1, 5]
    """
    whole: dict[str, ImputedCells] = {}
    for column in dict.fromkeys(column for chunk in chunks for column in chunk):
        parts = [(start, chunk[column]) for start, chunk in zip(starts, chunks, strict=True) if column in chunk]
        whole[column] = ImputedCells(
            np.concatenate([start + part.rows for start, part in parts]),
            [cell for _, part in parts for cell in part.cells],
            np.concatenate([part.sure for _, part in parts]),
            [end for _, part in parts for end in part.low],
            [end for _, part in parts for end in part.high],
        )
    return whole


def remove_attributes(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame without the attributes, which pandas copies with every column that is read from it."""
    frame = frame.copy(deep=False)
    frame.attrs = {}
    return frame


def add_to_frame(frame: pd.DataFrame, imputed: dict[str, ImputedCells], added: dict[str, str]) -> pd.DataFrame:
    """Returns a copy of a frame with imputed cells, and with the columns that `Imputer.name_added_columns` names."""
    result, frame = frame.copy(), remove_attributes(frame)
    for place, column in enumerate(frame.columns):
        if (new := imputed.get(column)) is not None:
            cells = put(frame[column], new.rows, new.cells)
            result.isetitem(place, cells)  # pyright: ignore[reportArgumentType]
    for name, column in reversed(added.items()):
        if name != FILLED:
            place = [*result.columns].index(column) + 1
            new, suffix = imputed.get(column), name.removeprefix(column)
            if suffix == SURE:
                result.insert(place, name, _list_certainties(new, len(frame)))
            else:
                result.insert(place, name, _put_ends(frame[column], new, suffix))
    if FILLED in added:
        result[FILLED] = _list_columns(frame.columns, imputed, len(frame))
    return result


def add_to_batch(batch: pa.RecordBatch, imputed: dict[str, ImputedCells], schema: pa.Schema) -> pa.RecordBatch:
    """Returns a record batch with imputed cells, and with the further columns of `schema`."""
    import pyarrow as pa

    names, rows = batch.schema.names, len(batch)
    arrays: list[pa.Array] = []
    for field in schema:
        if field.name in names:
            column, new = batch.column(field.name), imputed.get(field.name)
            arrays.append(column if new is None else put_arrow(column, new.rows, new.cells))
        elif field.name == FILLED:
            arrays.append(pa.array(_list_columns(names, imputed, rows), field.type))
        elif field.name.endswith(SURE):
            certainties = _list_certainties(imputed.get(field.name.removesuffix(SURE)), rows)
            arrays.append(pa.array(certainties, field.type, from_pandas=True))
        else:
            suffix = LOW if field.name.endswith(LOW) else HIGH
            numbers, ends = _select_ends(imputed.get(field.name.removesuffix(suffix)), suffix)
            arrays.append(put_arrow(pa.nulls(rows, field.type), numbers, ends))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def format_added_columns(
    frame: pd.DataFrame,
    imputed: dict[str, ImputedCells],
    added: dict[str, str],
    write_ends: Callable[[str, Sequence[Any]], list[str]],
    decimal: str,
) -> Iterator[tuple[str, str, list[str]]]:
    """Yields the columns that `Imputer.name_added_columns` names, as texts.

    Arguments:
        frame: Rows of the table.
        imputed: Imputed cells by column.
        added: Names of the added columns, and the columns that they follow.
        write_ends: Function that writes the ends of intervals of a column as texts.
        decimal: Decimal mark of certainties.

    Yields:
        The column that the added column follows, the name of the added column, and one text per row.
    """
    for name, column in added.items():
        if name == FILLED:
            yield column, name, _list_columns(frame.columns, imputed, len(frame))
        elif (suffix := name.removeprefix(column)) == SURE:
            numbers = _list_certainties(imputed.get(column), len(frame)).tolist()
            texts = [repr(number).replace(".", decimal) for number in numbers]
            yield column, name, ["" if number != number else text for number, text in zip(numbers, texts, strict=True)]
        else:
            rows, ends = _select_ends(imputed.get(column), suffix)
            written = dict(zip(rows.tolist(), write_ends(column, ends), strict=True))
            yield column, name, [written.get(row, "") for row in range(len(frame))]


def _list_certainties(imputed: ImputedCells | None, rows: int) -> np.ndarray:
    """Returns the certainty of a column's cell in each row, `(rows,)`; NaN where it was not imputed."""
    certainties = np.full(rows, np.nan)
    if imputed is not None:
        certainties[imputed.rows] = imputed.sure
    return certainties


def _select_ends(imputed: ImputedCells | None, suffix: str) -> tuple[np.ndarray, Sequence[Any]]:
    """Returns the row numbers of a column's intervals, `(n,)` int64, and the ends that a suffix names."""
    ends = () if imputed is None else imputed.low if suffix == LOW else imputed.high
    return (np.empty(0, int) if imputed is None or not len(ends) else imputed.rows), ends


def _put_ends(column: pd.Series, imputed: ImputedCells | None, suffix: str) -> pd.Series:
    """Returns the ends of intervals as a column of the same type, in which all other cells are missing."""
    rows, ends = _select_ends(imputed, suffix)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return put(column * np.nan, rows, ends)
    return dense(put(column, rows, ends)).where(np.isin(np.arange(len(column)), rows))


def _list_columns(columns: Iterable[str], imputed: dict[str, ImputedCells], rows: int) -> list[str]:
    """Returns for each row the names of the imputed columns, separated by commas."""
    names = np.full(rows, "", dtype=object)
    for column in columns:
        if column in imputed:
            names[imputed[column].rows] += f",{column}"
    return [listed[1:] for listed in names]
