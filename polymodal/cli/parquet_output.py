"""Parquet files that are written as rows come, so that they need not fit in memory."""

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

__all__ = ["cells", "check", "columns", "writing"]


def check(
    out: Path, name: str, sources: Iterable[Path] = (), *, columns: Iterable[str] = (), overwrite: bool = False
) -> None:
    """Refuses what may not be replaced by a Parquet file, or not be written.

    Arguments:
        out: The file to be.
        name: To propose for it where it is a folder.
        sources: What it is made from: files, or folders of them.
        columns: That such a file has, whatever else it may have.
        overwrite: Whether an earlier such file may be replaced.

    Raises:
        OSError: The file cannot be written there.
        ValueError: It is a folder, something else than such a Parquet file, or of what it is made from; or it exists
            and is not to be replaced.
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
                f"{path} must be a Parquet file, for it is replaced, and is something else; choose another --out"
            )
        output_checks.require_columns(path, held, columns)

    output_checks.check_file(out, name, sources, require_result, overwrite=overwrite)


@contextmanager
def writing(out: Path, kinds: pa.Schema) -> Iterator[Callable[[Mapping[str, Any] | pa.RecordBatch], None]]:
    """Writes a file under a temporary name, which it takes at the end; where there is an error it is gone.

    Arguments:
        out: The file; what was there is replaced.
        kinds: Names and types of its columns.

    Yields:
        What writes some rows, as a row group: values by the columns' names, or a batch.

    Raises:
        ValueError: Another process writes it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        claim_outputs(out, does="writes it"),
        checkpoint.writing(out) as fresh,
        pq.ParquetWriter(fresh, kinds) as writer,
    ):
        yield lambda rows: writer.write(rows if isinstance(rows, pa.RecordBatch) else pa.table(rows, schema=kinds))


def columns(schema: Schema, names: Sequence[str], own: Mapping[str, pa.DataType]) -> pa.Schema:
    """Columns of a file's own, and then one of each modality.

    Raises:
        ValueError: A modality is called like one of the file's own.
    """
    import pyarrow as pa

    if twice := sorted({*own} & {*names}):
        raise ValueError(
            f"a modality must not be called like a column of the file; {twice[0]!r} is; rename the modality"
        )
    return pa.schema([*own.items(), *((name, _kind(schema[name])) for name in names)])


def cells(modality: Modality, values: Tensor, has: Sequence[bool] | None = None) -> list[Any]:
    """Values `(N, *shape)` as a file holds them; None where a row has none.

    They are those of `Schema.write`: numbers, lists of numbers where there are several, names of classes, texts;
    pictures as the bytes of a PNG.
    """
    values = values.cpu()
    return [_cell(modality, value) if has is None or has[place] else None for place, value in enumerate(values)]


def _kind(modality: Modality) -> pa.DataType:
    """The type of a modality's column, which is that of any of its values."""
    import pyarrow as pa

    return pa.array([_cell(modality, modality.blank.clamp(min=0))]).type


def _cell(modality: Modality, value: Tensor) -> Any:
    raw = modality.write(value)
    if isinstance(raw, PIL.Image.Image):
        return png(raw)
    raw = raw.tolist() if hasattr(raw, "tolist") else raw
    return raw[0] if isinstance(raw, list) and len(raw) == 1 and not isinstance(raw[0], list) else raw
