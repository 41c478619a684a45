"""Incremental writing of Parquet files that may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image

from polymodal.cli import output_checks
from polymodal.io import checkpoint
from polymodal.io.locks import claim_outputs
from polymodal.modalities.image import png

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from polymodal.modalities import Modality
    from polymodal.schema import Schema

__all__ = ["check_parquet_output", "format_cells", "make_arrow_schema", "write_parquet"]


def check_parquet_output(
    out: Path, name: str, sources: Iterable[Path] = (), *, columns: Iterable[str] = (), overwrite: bool = False
) -> None:
    """Checks that a Parquet file can be written and would replace nothing but an earlier result.

    Arguments:
        out: Output file.
        name: File name that the error message suggests if `out` is a folder.
        sources: Input files, or folders of input files.
        columns: Columns that every earlier result has.
        overwrite: Whether to replace an earlier result.

    Raises:
        OSError: The file cannot be written.
        ValueError: `out` is a folder, is not an earlier result, is or is inside an input, or exists and `overwrite` is
            not set.
    """

    def require_result(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            held = pq.read_schema(path).names if path.is_file() else None
        except (pa.ArrowException, OSError):
            held = None
        if held is None:
            raise ValueError(
                f"{path} must be a Parquet file that this command wrote, because it will be replaced, and it is not; "
                "choose another --out"
            )
        output_checks.require_columns(path, held, columns)

    output_checks.check_file(out, name, sources, require_result, overwrite=overwrite)


@contextmanager
def write_parquet(out: Path, kinds: pa.Schema) -> Iterator[Callable[[Mapping[str, Any] | pa.RecordBatch], None]]:
    """Writes a file under a temporary name and renames it at the end; after an error the temporary file is removed.

    Arguments:
        out: Output file; an existing file is replaced.
        kinds: Names and types of the columns.

    Yields:
        A function that writes rows as a row group. Its argument is a mapping from column names to values, or a record
        batch.

    Raises:
        ValueError: Another process is writing the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        claim_outputs(out, does="writes it"),
        checkpoint.replace_file(out) as fresh,
        pq.ParquetWriter(fresh, kinds) as writer,
    ):
        yield lambda rows: writer.write(rows if isinstance(rows, pa.RecordBatch) else pa.table(rows, schema=kinds))


def make_arrow_schema(schema: Schema, names: Sequence[str], own: Mapping[str, pa.DataType]) -> pa.Schema:
    """Returns the Arrow schema of an output file: its fixed columns `own`, then one column per modality.

    Raises:
        ValueError: A modality has the name of a fixed column.
    """
    import pyarrow as pa

    if twice := sorted({*own} & {*names}):
        raise ValueError(
            f"a modality must not have the name of another column of the file; got {twice[0]!r}; rename the modality"
        )
    return pa.schema([*own.items(), *((name, _kind(schema[name])) for name in names)])


def format_cells(modality: Modality, values: Tensor, has: Sequence[bool] | None = None) -> list[Any]:
    """Converts values `(N, *shape)` to cells of a file, with None for rows where `has` is False.

    The cells are those of `Schema.write`: numbers, lists of several numbers, names of classes, and texts. Images become
    the bytes of a PNG file.
    """
    values = values.cpu()
    return [_cell(modality, value) if has is None or has[place] else None for place, value in enumerate(values)]


def _kind(modality: Modality) -> pa.DataType:
    """Returns the Arrow type of a modality's column, inferred from a blank value."""
    import pyarrow as pa

    return pa.array([_cell(modality, modality.blank.clamp(min=0))]).type


def _cell(modality: Modality, value: Tensor) -> Any:
    raw = modality.write(value)
    if isinstance(raw, PIL.Image.Image):
        return png(raw)
    raw = raw.tolist() if hasattr(raw, "tolist") else raw
    return raw[0] if isinstance(raw, list) and len(raw) == 1 and not isinstance(raw[0], list) else raw
