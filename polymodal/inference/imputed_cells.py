"""Imputed cells of data frames, and the columns that describe them.

A column of certainties may follow each imputed column, and a last column may list the imputed columns of each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.tabular.filling import put, put_arrow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["FILLED", "SURE", "ImputedCells", "add_to_batch", "add_to_frame", "concat_cells", "format_added_columns"]

FILLED = "filled"
"""Name of the column that lists the imputed columns of each row."""
SURE = "_sure"
"""Suffix that is appended to the name of a column to name the column with the certainty of its imputed cells."""


class ImputedCells(NamedTuple):
    """Imputed cells of a column."""

    rows: np.ndarray
    """Row numbers of the imputed cells, `(n,)` int64."""
    cells: Sequence[Any]
    """The n imputed cells."""
    sure: np.ndarray
    """Certainty of the cells, `(n,)`; NaN where it is not available.

    It is the probability of a class, or the standard deviation of a number over posterior samples.
    """


def concat_cells(chunks: Sequence[dict[str, ImputedCells]], starts: Sequence[int]) -> dict[str, ImputedCells]:
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
        )
    return whole


def add_to_frame(frame: pd.DataFrame, imputed: dict[str, ImputedCells], added: dict[str, str]) -> pd.DataFrame:
    """Returns a copy of a frame with imputed cells, and with the columns that `Imputer.name_added_columns` names."""
    result = frame.copy()
    for column, new in imputed.items():
        result[column] = put(frame[column], new.rows, new.cells)
    for column, name in added.items():
        if column != FILLED:
            place = [*result.columns].index(column) + 1
            result.insert(place, name, _list_certainties(imputed.get(column), len(frame)))
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
        else:
            certainties = _list_certainties(imputed.get(field.name.removesuffix(SURE)), rows)
            arrays.append(pa.array(certainties, field.type, from_pandas=True))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def format_added_columns(
    frame: pd.DataFrame, imputed: dict[str, ImputedCells], added: dict[str, str]
) -> Iterator[tuple[str, str, list[str]]]:
    """Yields the columns that `Imputer.name_added_columns` names, as texts.

    Yields:
        The column that the added column follows, the name of the added column, and one text per row.
    """
    for column, name in added.items():
        if column == FILLED:
            yield column, name, _list_columns(frame.columns, imputed, len(frame))
        else:
            numbers = _list_certainties(imputed.get(column), len(frame)).tolist()
            yield column, name, ["" if number != number else repr(number) for number in numbers]


def _list_certainties(imputed: ImputedCells | None, rows: int) -> np.ndarray:
    """Returns the certainty of a column's cell in each row, `(rows,)`; NaN where it was not imputed."""
    certainties = np.full(rows, np.nan)
    if imputed is not None:
        certainties[imputed.rows] = imputed.sure
    return certainties


def _list_columns(columns: Iterable[str], imputed: dict[str, ImputedCells], rows: int) -> list[str]:
    """Returns for each row the names of the imputed columns, separated by commas."""
    names = np.full(rows, "", dtype=object)
    for column in columns:
        if column in imputed:
            names[imputed[column].rows] += f",{column}"
    return [listed[1:] for listed in names]
