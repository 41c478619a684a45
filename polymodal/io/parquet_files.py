"""Reads several Parquet files as one table with common column types.

The columns of a folder are those of all its files, and those in the names of its subfolders, such as
`year=2020/part.parquet`. A column that a file does not have is missing in its rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.io.arrow_types import cast_exactly, common_type, encode, unify_categories, widen
from polymodal.io.parquet_folders import list_files, parse_hive_partitions, types_of
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["ParquetTable", "to_frame"]

ROWS = 65_536
"""Number of rows of a column that are inspected at once."""


class ParquetTable:
    """One or several Parquet files as one table.

    A column whose types differ between files has their common type. A column with only missing values takes the type of
    the column in the other files. Categories are those of all files, in their order.

    Arguments:
        path: Parquet file, or folder of Parquet files.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: A file is damaged or no Parquet file, or the types of a column in two files have no common type.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pd.DataFrame({"kind": ["owl"], "note": [None]}).to_parquet(f"{folder}/a.parquet")
        ...     pd.DataFrame({"kind": ["emu"], "grams": [36_000.0]}).to_parquet(f"{folder}/b.parquet")
        ...     table = ParquetTable(folder)
        ...     table.schema.names, [batch.to_pydict()["grams"] for batch in table.batches(10)]
        (['kind', 'note', 'grams'], [[None], [36000.0]])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.parts = [_open_part(file, self.path) for file in list_files(path)]
        self.folder_types = types_of([part.named for part in self.parts])
        self.unified = _unify(self.parts, self.folder_types)

    @property
    def lengths(self) -> list[int]:
        """Number of rows of each file."""
        return [part.rows for part in self.parts]

    @property
    def folder_names(self) -> list[str]:
        """Columns and values in the folder names as JSON, one text per file that has any."""
        return [json.dumps(part.named) for part in self.parts if part.named]

    @cached_property
    def schema(self) -> pa.Schema:
        """Names, types and metadata of the columns. For a single file, the schema of that file."""
        import pyarrow as pa

        return pa.schema(
            [
                field.with_type(widen(field.type, len(self._categories[field.name])))
                if field.name in self._categories
                else field
                for field in self.unified
            ],
            self.unified.metadata,
        )

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Returns the rows in batches of at most `rows` rows, with the schema of the table.

        Raises:
            ValueError: A file is damaged, or the common type of a column cannot represent a value.
        """
        return (batch for _, batch in self._batches(rows))

    def frames(self, rows: int) -> Iterator[pd.DataFrame]:
        """Returns the rows as data frames; see `batches`."""
        return (to_frame(batch, file) for file, batch in self._batches(rows))

    def _batches(self, rows: int) -> Iterator[tuple[Path, pa.RecordBatch]]:
        for part in self.parts:
            for batch in part.read(rows):
                yield part.file, self._fit(part, batch)

    def _fit(self, part: _Part, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Converts the rows of a file to the schema of the table."""
        import pyarrow as pa

        if batch.schema.names == self.schema.names:
            columns = batch.columns
        else:
            columns = [self._column(part, batch, field.name) for field in self.schema]
        arrays = [self._cast(part, field, column) for field, column in zip(self.schema, columns, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _column(self, part: _Part, batch: pa.RecordBatch, name: str) -> pa.Array:
        import pyarrow as pa

        if name in batch.schema.names:
            return batch.column(name)
        value = part.named.get(name)
        kind = self.folder_types.get(name, pa.null())
        return pa.repeat(pa.scalar(value).cast(kind), len(batch)) if value is not None else pa.nulls(len(batch))

    def _cast(self, part: _Part, field: pa.Field, column: pa.Array) -> pa.Array:
        import pyarrow as pa

        if field.name in part.empty:
            column = pa.nulls(len(column))
        if field.name in self._categories:
            return encode(column, self._categories[field.name], field.type)
        if column.type == field.type:
            return column
        if column.null_count == len(column):
            return pa.nulls(len(column), field.type)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            return cast_exactly(column, field.type)
        except pa.ArrowException as error:
            raise ValueError(
                f"{part.file} must hold {field.name!r} as {field.type}, as other files of {self.path} do, and holds it "
                f"as {column.type}: {brief(error)}; write the files anew with one type"
            ) from error

    @cached_property
    def _categories(self) -> dict[str, pa.Array]:
        """The categories of each categorical column, over all files.

        Raises:
            ValueError: Two files have ordered categories in different orders.
        """
        import pyarrow as pa

        names = [field.name for field in self.unified if pa.types.is_dictionary(field.type)]
        known: dict[str, pa.Array] = {}
        whose: dict[str, Path] = {}
        for part in self.parts:
            own = [name for name in names if part.has_categories(name)]
            for batch in part.read(ROWS, own) if own else ():
                for name in own:
                    column = batch.column(batch.schema.get_field_index(name))
                    before = known.get(name, column.dictionary)
                    strict = column.type.ordered and whose.get(name, part.file) != part.file
                    made = unify_categories(before, column.dictionary, strict=strict)
                    if made is None:
                        raise ValueError(
                            f"{name!r} must have its ordered categories in one order; {whose[name]} has "
                            f"{brief(before.to_pylist())}, and {part.file} has {brief(column.dictionary.to_pylist())}; "
                            "write the files anew with the same categories"
                        )
                    if made is not before:
                        whose[name] = part.file
                    known[name] = made
                    whose.setdefault(name, part.file)
        return known


class _Part(NamedTuple):
    """One file of a table."""

    file: Path
    rows: int
    schema: pa.Schema
    """Schema of the file itself."""
    named: dict[str, str | None]
    """Columns in the folder names."""
    empty: set[str]
    """Columns that have only missing values in this file, and another type in other files."""

    def read(self, rows: int, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Returns the rows in batches of at most `rows` rows, with all columns or those in `names`."""
        import pyarrow.parquet as pq

        with _naming(self.file), pq.ParquetFile(self.file, memory_map=True) as opened:
            yield from opened.iter_batches(rows, columns=names)

    def has_categories(self, name: str) -> bool:
        """Returns whether a column is categorical, and not in `empty`."""
        import pyarrow as pa

        own = self.schema.get_field_index(name)
        return own >= 0 and name not in self.empty and pa.types.is_dictionary(self.schema.field(own).type)

    def is_empty(self, name: str) -> bool:
        """Returns whether a column has only missing values."""
        return all(
            batch.column(batch.schema.get_field_index(name)).is_null(nan_is_null=True).true_count == len(batch)
            for batch in self.read(ROWS, [name])
        )


def to_frame(batch: pa.RecordBatch, path: str | Path) -> pd.DataFrame:
    """Converts rows of a Parquet file to a data frame.

    Raises:
        ValueError: The file's pandas metadata is damaged, or pandas cannot represent a value.
    """
    with _naming(path):
        return batch.to_pandas()


@contextmanager
def _naming(file: str | Path) -> Iterator[None]:
    """Adds the file name to errors of damaged files; errors of the operating system contain it already."""
    import pyarrow as pa

    odd = (pa.ArrowException, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
    try:
        yield
    except (OSError, *odd) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(
            f"{file} must be a Parquet file: {type(error).__name__}: {brief(error)}; restore it, or write it anew"
        ) from error


def _open_part(file: Path, path: Path) -> _Part:
    """Reads the metadata of a file, and checks that pandas accepts it."""
    import pyarrow.parquet as pq

    with _naming(file):
        about = pq.read_metadata(file)
        schema = about.schema.to_arrow_schema()
        schema.empty_table().to_pandas()
    if not schema.names:
        raise ValueError(f"{file} must have a column, and has none; leave it out")
    return _Part(file, about.num_rows, schema, parse_hive_partitions(file, path), set())


def _unify(parts: Sequence[_Part], named: dict[str, pa.DataType]) -> pa.Schema:
    """Returns the schema of the columns of all files, followed by those in the folder names."""
    import pyarrow as pa

    first = parts[0].schema
    if not named and all(part.schema.equals(first) for part in parts):
        return first
    for part in parts:
        if twice := [name for name in part.schema.names if part.schema.names.count(name) > 1]:
            raise ValueError(
                f"{part.file} must have columns of different names, because the files next to it have other columns; "
                f"{twice[0]!r} occurs twice; rename one"
            )
    names = dict.fromkeys(name for part in parts for name in part.schema.names)
    fields = [_unify_column(name, parts, named.get(name)) for name in {**names, **named}]
    return pa.schema(fields, _metadata(parts, fields))


def _unify_column(name: str, parts: Sequence[_Part], named: pa.DataType | None) -> pa.Field:
    """Returns the field of a column, with the common type of its files and the metadata of the first one.

    Raises:
        ValueError: Two files have types without a common type.
    """
    import pyarrow as pa

    holders = [part for part in parts if name in part.schema.names]
    if not holders:
        return pa.field(name, named or pa.null())
    kind, conflict = _common(name, holders)
    if conflict:  # a column without values, such as NaN instead of texts, takes the type of the others
        for part in holders:
            if part.is_empty(name):
                part.empty.add(name)
        kind, conflict = _common(name, [part for part in holders if name not in part.empty])
    if conflict:
        one, other = conflict
        raise ValueError(
            f"{name!r} must be of types that have one in common; {one.file} has {one.schema.field(name).type}, and "
            f"{other.file} has {other.schema.field(name).type}; write one of them anew with the type of the other"
        )
    if named is not None and len(holders) < len(parts):
        kind = common_type(kind, named) or kind
    everywhere = len(holders) == len(parts) and not any(name in part.empty for part in holders)
    nullable = not everywhere or any(part.schema.field(name).nullable for part in holders)
    return holders[0].schema.field(name).with_type(kind).with_nullable(nullable)


def _common(name: str, holders: Sequence[_Part]) -> tuple[pa.DataType, tuple[_Part, _Part] | None]:
    """Returns the common type of a column in several files, and two files that have none, if there are such."""
    import pyarrow as pa

    first = {part.schema.field(name).type: part for part in reversed(holders)}
    kind: pa.DataType = pa.null()
    for part in sorted(first.values(), key=lambda part: part.file):
        if (made := common_type(kind, part.schema.field(name).type)) is None:
            own = part.schema.field(name).type
            other = next((one for key, one in first.items() if common_type(key, own) is None), part)
            return kind, (other, part)
        kind = made
    return kind, None


def _metadata(parts: Sequence[_Part], fields: Sequence[pa.Field]) -> dict[bytes, bytes] | None:
    """Returns the metadata of the first file, with pandas metadata for the columns of all files."""
    texts = [(part.schema.metadata or {}).get(b"pandas") for part in parts]
    documents: list[Any] = [None if text is None else json.loads(text) for text in texts]
    own = parts[0].schema.metadata
    told = [(part, document) for part, document in zip(parts, documents, strict=True) if document]
    if not told:
        return own
    index = {name: None for _, document in told for name in document["index_columns"] if isinstance(name, str)}
    kinds = {field.name: field.type for field in fields}
    columns: dict[str, Any] = {}
    for part, document in told:
        for entry in document["columns"]:
            name = entry.get("field_name") or entry.get("name")
            if name in kinds and name in part.schema.names:
                same = part.schema.field(name).type == kinds[name]
                if same or name in index:
                    columns.setdefault(name, entry)
    made = {**told[0][1], "columns": list(columns.values())}
    made["index_columns"] = [*index] or made["index_columns"]
    return {**(own or {}), b"pandas": json.dumps(made).encode()}
