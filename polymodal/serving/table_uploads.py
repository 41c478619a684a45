"""Imputation of uploaded tables, batch by batch.

Tables come from anyone, so their format follows from their first bytes and not from their names, no file that a cell
names is read, and a Parquet file that would need far more memory than its size suggests is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from polymodal import imputation
from polymodal.csvfiles import Options
from polymodal.datasets.table_files import USUAL, File
from polymodal.inference.imputer import Imputer
from polymodal.io.parquet_files import ParquetTable
from polymodal.modalities import Label, Text, Vector
from polymodal.models.base import Model
from polymodal.runtime.formatting import split_names
from polymodal.runtime.registry import unknown
from polymodal.schema import Schema

__all__ = ["UploadedTable", "name_upload", "read_table_options"]

PARQUET = b"PAR1"
CELLS = (Label, Text, Vector)
"""Modalities whose cells name no files."""
MOST_COLUMNS = 10_000
SEPARATORS = (b",", b";", b"\t", b"|")
EXPANSION = 64
"""Largest accepted ratio of the uncompressed size of a Parquet file to the largest body of a request."""
MEMORY = 2**29
"""Bytes that a batch of texts may need if each cell is as large as its compressed column."""
FLAGS = {"true": True, "false": False}
OPTIONS = ("given", "to", "sure", "marked", "interval", "bounds")


def name_upload(start: bytes) -> str:
    """Returns the name to store a file under, from its first bytes."""
    return "table.parquet" if start.startswith(PARQUET) else "table.csv"


def read_table_options(fields: Mapping[str, str], schema: Schema) -> dict[str, Any]:
    """Reads the options of `POST /api/impute` from the fields of its form.

    Raises:
        ValueError: A field or a modality is unknown, or a value is not valid.
    """
    for name in fields:
        if name not in OPTIONS:
            raise unknown(name, ["file", *OPTIONS], "field")
    options: dict[str, Any] = {}
    for key in ("given", "to"):
        names = [name for name in split_names(fields.get(key, "")) if name]
        for name in names:
            schema.index(name)  # raises an error if the modality does not exist
        options[key] = list(dict.fromkeys(names)) or None
    for key in ("sure", "marked"):
        text = fields.get(key) or "false"
        if text not in FLAGS:
            raise ValueError(f"{key} must be true or false; got {text[:60]!r}")
        options[key] = FLAGS[text]
    options["bounds"] = fields.get("bounds") or "observed"
    options["interval"] = None
    if text := fields.get("interval"):
        try:
            options["interval"] = float(text)
        except ValueError:
            raise ValueError(f"interval must be a number between 0 and 1, such as 0.9; got {text[:60]!r}") from None
    return options


class UploadedTable:
    """A table that is being imputed.

    Arguments:
        model: Trained model.
        path: The file, with a name from `name_upload`.
        trained: Options with which the training table was read; None if there are none.
        most: Largest body of a request, in bytes.
        options: Result of `read_table_options`.

    Raises:
        ValueError: The file cannot be read, or has a column of files.
    """

    def __init__(
        self, model: Model, path: Path, trained: Options | None, most: int, options: Mapping[str, Any]
    ) -> None:
        made = dict(options)
        self._sure, self._marked = made.pop("sure"), made.pop("marked")
        self._imputer = Imputer(model, made.pop("given"), made.pop("to"), root=path.parent, **made)
        _check_header(path)
        self.file = File(path, USUAL if trained is None else USUAL.after(trained), trained)
        self._parquet = ParquetTable(path) if self.file.parquet else None
        names = self._parquet.schema.names if self._parquet else list(self.file.document.frame.columns)
        _check_columns(model.schema, names)
        self._size = imputation.BATCH_SIZE
        if self._parquet:
            self._size = _choose_batch_size(path, EXPANSION * most)
            self._added = imputation.extend_arrow_schema(self._imputer, self._parquet.schema, self._sure, self._marked)
        else:
            self._added = self._imputer.name_added_columns(names, self._sure, self._marked)
        self._chunks: list[Any] = []

    def impute(self, out: BinaryIO) -> Iterator[int]:
        """Imputes the table batch by batch, and yields the number of rows of each batch.

        Only one batch of a Parquet file is in memory at a time. `finish` must be called at the end.

        Arguments:
            out: File to write to.
        """
        if self._parquet is None:
            frame = self.file.document.frame
            for start in range(0, len(frame), self._size):
                self._chunks.append(self._imputer.impute_chunk(frame.iloc[start : start + self._size]))
                yield min(self._size, len(frame) - start)
            return
        import pyarrow.parquet as pq

        made = imputation.impute_batches(self._imputer, self._parquet.batches(self._size), self._added, "the file")
        with pq.ParquetWriter(out, self._added) as writer:
            for batch in made:
                writer.write(batch)
                yield len(batch)

    def finish(self, out: BinaryIO) -> None:
        """Writes what is not written yet."""
        if self._parquet is None:
            document = self.file.document
            starts = range(0, len(document.frame), self._size)
            out.write(imputation.format_csv(self._imputer, document, self._chunks, starts, self._added))
        self._imputer.list_messages()


def _check_header(path: Path) -> None:
    """Checks that a CSV file has not too many columns, before it is parsed.

    Raises:
        ValueError: It has.
    """
    if path.suffix == ".parquet":
        return
    with path.open("rb") as file:
        line = file.readline(MOST_COLUMNS * 256)
    if (count := 1 + max(line.count(separator) for separator in SEPARATORS)) > MOST_COLUMNS:
        raise ValueError(f"the table must have at most {MOST_COLUMNS:,} columns; it has {count:,}; send fewer")


def _check_columns(schema: Schema, names: list[str]) -> None:
    """Checks that no column contains files.

    Raises:
        ValueError: A column does.
    """
    for name, modality in schema.items():
        if not isinstance(modality, CELLS) and (found := sorted({*modality.columns(name)} & {*names})):
            raise ValueError(
                f"the table must have columns of numbers, classes and texts only, because the server reads no files "
                f"that a table names; it has {found[0]!r}; leave it out, or send such rows to /api/translate"
            )


def _choose_batch_size(path: Path, most: int) -> int:
    """Returns the number of rows of a Parquet file to read at once.

    Raises:
        ValueError: Uncompressed, the file is larger than `most` bytes.
    """
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    columns = [group.column(place) for group in groups for place in range(group.num_columns)]
    sizes = [max(column.total_uncompressed_size, 0) for column in columns]
    if sum(sizes) > most:
        raise ValueError(
            f"the file must have at most {most:,} bytes uncompressed; it has {sum(sizes):,} in {metadata.num_rows:,} "
            "rows; send it in parts"
        )
    texts = [size for column, size in zip(columns, sizes, strict=True) if column.physical_type == "BYTE_ARRAY"]
    return max(1, min(imputation.BATCH_SIZE, MEMORY // max(texts, default=1)))
