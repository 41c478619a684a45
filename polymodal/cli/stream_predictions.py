"""Predictions and latent codes of any number of rows, written batch by batch into one Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polymodal.cli.input_rows import (
    list_sources,
    open_source,
    parse_modality_names,
    parse_row_numbers,
    refuse_both,
    say_all,
)
from polymodal.cli.parquet_output import check_parquet_output, format_cells, make_arrow_schema, write_parquet
from polymodal.cli.run_folder import open_model
from polymodal.datasets.table_files import File
from polymodal.inference import streaming
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.runtime.progress import show_progress

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["embed_to_parquet", "translate_to_parquet"]


def translate_to_parquet(
    folder: Path,
    file: File | None = None,
    *,
    out: Path,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    rows: str | None = None,
    split: str | None = None,
    samples: int | None = None,
    combine: Literal["mean"] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    bounds: Bounds = "observed",
    device: str = "auto",
    batch_size: int = 256,
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[int, int]:
    """Predicts modalities of rows as `translate_to_folder` does, and writes them batch by batch into one Parquet file.

    The file has the columns `row`, `sample` if the samples are not combined, and one column per modality.

    Arguments:
        folder: Run folder.
        file: Table with the input rows; by default the rows of a split are used.
        out: Output file.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to predict; by default all.
        rows: Row numbers and ranges of a split, such as "0:8" or "3,5,9"; by default all rows.
        split: Split of the run's data set; by default the test split.
        samples: Number of posterior samples per row, as in `translate_to_folder`; they are numbered from 0.
        combine: Combination of the samples, as in `Model.translate`.
        steps: Number of solver steps, as in `Model.translate`.
        guidance: Weight of the condition, as in `Model.translate`.
        temperature: Scale of the noise, as in `Model.translate`.
        seed: Random seed of the samples.
        bounds: Range of predicted numbers, as in `polymodal.impute`.
        device: Device, as in `fit`.
        batch_size: Number of rows per batch.
        overwrite: Whether to replace an earlier file of translations.
        on_changed: Behaviour if the table of the training run has changed, as in `translate_to_folder`.

    Returns:
        The number of predicted rows, and the number of rows left out because they observe none of the given modalities.

    Raises:
        OSError: The file cannot be written.
        ValueError: A name or a row does not exist, a cell cannot be read, a file is given together with a split or
            rows, `out` is a folder or another kind of file, or `out` exists and `overwrite` is not set.
    """
    import pyarrow as pa

    check_bounds(bounds)
    check_parquet_output(out, "translations.parquet", list_sources(folder, file), columns=["row"], overwrite=overwrite)
    refuse_both(file, split, rows)
    model = open_model(folder, device)
    schema = model.schema
    starts, ends = parse_modality_names(given, schema), parse_modality_names(to, schema)
    source = open_source(folder, schema, split, file, batch_size, on_changed)
    chosen = None if rows is None else parse_row_numbers(rows, source.rows)
    count = source.rows if chosen is None else len(chosen)
    passes = source.batches if chosen is None else -(-count // batch_size)
    options: dict[str, Any] = {"combine": combine, "steps": steps, "guidance": guidance, "temperature": temperature}
    model.check_samples(samples, **options)
    each = 1 if samples is None or combine is not None else samples  # output lines per input row
    several = samples is not None and combine is None
    kinds = make_arrow_schema(schema, ends, {"row": pa.int64(), **({"sample": pa.int64()} if several else {})})

    def predict(numbers: Tensor, table: Table) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        query = model, table, starts, ends, batch_size
        if samples is None:
            return streaming.translate(*query, rows=chosen)
        first = int(numbers[0]) if len(numbers) else 0
        return streaming.translate_samples(*query, samples=samples, seed=seed, rows=chosen, first=first, **options)

    parts = (
        (numbers[places], values) for numbers, table in source.chunks for places, values in predict(numbers, table)
    )
    written = 0
    with write_parquet(out.resolve(), kinds) as write:
        for numbers, values in show_progress(parts, "translating", passes):
            columns = {"row": numbers.numpy().repeat(each)}
            if several:  # the samples of a row are consecutive
                columns["sample"] = np.arange(len(numbers) * each) % each
                values = {name: value.transpose(0, 1).flatten(0, 1) for name, value in values.items()}
            bounded = {name: schema[name].bound(value, bounds) for name, value in values.items()}
            write({**columns, **{name: format_cells(schema[name], value) for name, value in bounded.items()}})
            written += len(numbers)
        say_all(source.messages())
    return written, count - written


def embed_to_parquet(
    folder: Path,
    file: File | None = None,
    *,
    out: Path,
    given: Sequence[str] = (),
    split: str | None = None,
    device: str = "auto",
    batch_size: int = 256,
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[int, int]:
    """Writes the latent codes of rows to a Parquet file with the columns `row`, `z0`, `z1`, ..., and one per label.

    Arguments:
        folder: Run folder.
        file: Table with the input rows; by default the rows of a split are used.
        out: Output file.
        given: Names of the modalities to condition on; by default all.
        split: Split of the run's data set; by default the test split.
        device: Device, as in `fit`.
        batch_size: Number of rows per batch.
        overwrite: Whether to replace an earlier file of codes.
        on_changed: Behaviour if the table of the training run has changed, as in `translate_to_folder`.

    Returns:
        The number of written rows, and the number of rows left out because they observe none of the given modalities.

    Raises:
        OSError: The file cannot be written.
        ValueError: A name does not exist, a cell cannot be read, both a file and a split are given, `out` is a folder
            or another kind of file, or `out` exists and `overwrite` is not set.
    """
    import pyarrow as pa

    check_parquet_output(out, "codes.parquet", list_sources(folder, file), columns=["row", "z0"], overwrite=overwrite)
    refuse_both(file, split)
    model = open_model(folder, device)
    schema, names = model.schema, parse_modality_names(given, model.schema)
    source = open_source(folder, schema, split, file, batch_size, on_changed)
    labels = [name for name, modality in schema.items() if modality.levels is not None and not modality.shape]
    axes = [f"z{axis}" for axis in range(model.code_dim)]
    kinds = make_arrow_schema(schema, labels, {"row": pa.int64(), **dict.fromkeys(axes, pa.float32())})
    parts = (
        (numbers[places], z, table[places])
        for numbers, table in source.chunks
        for places, z in streaming.embed(model, table, names, batch_size)
    )
    written = 0
    with write_parquet(out.resolve(), kinds) as write:
        for rows, z, batch in show_progress(parts, "embedding", source.batches):
            known = {name: _read_labels(schema, name, batch) for name in labels}
            write({"row": rows.numpy(), **dict(zip(axes, z.float().numpy().T, strict=True)), **known})
            written += len(rows)
        say_all(source.messages())
    return written, source.rows - written


def _read_labels(schema: Schema, name: str, batch: Batch) -> list[str | int | None]:
    """Returns a label of each row as written to a file, or None where it is missing."""
    has = batch.observed[:, schema.index(name)]
    return format_cells(schema[name], batch.values.get(name, has), has.tolist())
