"""Reading of a table's rows from chunks of a data frame, CSV files, and data sets of dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from polymodal import csvfiles
from polymodal.runtime.validation import check_callable, check_kind, check_list
from polymodal.schema import Schema
from polymodal.table.frames import ROWS, Reader, fit_schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FITTED", "check_options", "read_chunks", "read_csv_rows", "read_dicts"]

FITTED = 2**18
"""Number of rows of a Parquet file from which units, classes and words are learned."""


def check_options(schema: Schema | None, say: Callable[[str], object] | None) -> None:
    """Checks the types of a schema and of a function that receives messages; both may be None."""
    if schema is not None:
        check_kind("schema", schema, Schema, "a Schema", "write Schema({...}), or leave it out to have it inferred")
    check_callable("say", say)


def read_chunks(
    chunks: Iterator[pd.DataFrame],
    schema: Schema | None,
    *,
    root: str | Path | None,
    unreadable: float,
    say: Callable[[str], object] | None,
) -> tuple[Iterable[pd.DataFrame], Reader]:
    """Infers a schema and its unspecified settings from the first chunks of a table.

    Arguments:
        chunks: Rows of the table.
        schema: The modalities; by default inferred from the first chunks.
        root: Folder that file names in cells are relative to.
        unreadable: Largest share of damaged files in a column.
        say: Function that receives the report on the inferred types.

    Returns:
        All chunks, and a reader for them.

    Raises:
        ValueError: There are no rows, or a cell cannot be read.
    """
    import pandas as pd

    first = list(islice(chunks, FITTED // ROWS))
    if not first:
        raise ValueError("there must be at least one row; got none")
    known = pd.concat(first, ignore_index=True)
    schema = Schema.infer(known, root=root, say=say) if schema is None else schema
    return chain(first, chunks), Reader(fit_schema(schema, known), root, unreadable)


def read_csv_rows(
    path: str | Path, options: csvfiles.Options, schema: Schema | None, say: Callable[[str], object] | None
) -> pd.DataFrame:
    """Reads the rows of a CSV file; if no schema is given, a first column that only counts the rows is left out."""
    document = csvfiles.read(path, options)
    frame, messages = document.frame, list(document.messages)
    if schema is None and document.index is not None:
        frame = frame.drop(columns=document.index)
        messages.append(f"{document.path.name}: {csvfiles.INDEX}")
    if say is not None:
        for sentence in messages:
            say(sentence)
    return frame


def read_dicts(dataset: Any) -> pd.DataFrame:
    """Reads the rows of a data set of dicts, or of any iterable of dicts.

    Raises:
        TypeError: The data set is a data frame or a dict, or a row is not a dict.
    """
    import pandas as pd

    if isinstance(dataset, type | Mapping | pd.DataFrame):
        raise TypeError(
            f"dataset must give a dict per row; got {type(dataset).__name__}; write [{{'height': 1.5}}], or use "
            "Table.from_frame"
        )
    is_indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not is_indexed:
        check_list("dataset", dataset, "dicts, or a data set that gives them", "[{'height': 1.5}]")
    rows: Sequence[Any] = [dataset[row] for row in range(len(dataset))] if is_indexed else list(dataset)
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"a data set must give a dict per row; row {place} is a {type(row).__name__}")
    columns = dict.fromkeys(key for row in rows for key in row)
    return pd.DataFrame({key: pd.Series([_to_cell(row.get(key)) for row in rows]) for key in columns})


def _to_cell(value: Any) -> Any:
    """Converts a value of a data set to a cell of a data frame: tensors to arrays, and scalars to Python numbers."""
    if isinstance(value, Tensor):
        value = value.cpu().numpy()
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value
