"""Imputation of a table's file into a file of the same format."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polymodal import csvfiles, imputation
from polymodal.cli import output_checks, parquet_output
from polymodal.cli.input_rows import parse_modality_names
from polymodal.cli.run_data import choose_output
from polymodal.cli.run_folder import open_model
from polymodal.cli.table_settings import open_table_file
from polymodal.csvfiles import Options, other_formats
from polymodal.datasets.table_files import USUAL, File
from polymodal.inference.imputer import Imputer
from polymodal.io import checkpoint
from polymodal.io.locks import claim_outputs
from polymodal.io.parquet_files import ParquetTable
from polymodal.modalities.base import Bounds
from polymodal.runtime.progress import say, show_progress

__all__ = ["impute_table_file"]

Writer = Callable[[Imputer, File, Path, bool, bool, int], int]
"""Function that imputes a table, writes the result, and returns the number of rows.

Its arguments are the filler, the table, the output file, whether to add columns with the certainty of imputed cells,
whether to add a column with the names of imputed columns, and the number of rows per batch.
"""
FEATHER = (".feather", ".arrow")


def impute_table_file(
    folder: Path,
    file: Path,
    out: Path | None = None,
    *,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    sure: bool = False,
    marked: bool = False,
    imputations: int | None = None,
    seed: int = 0,
    bounds: Bounds = "observed",
    interval: float | None = None,
    options: Options = USUAL,
    device: str = "auto",
    batch_size: int = imputation.BATCH_SIZE,
    overwrite: bool = False,
) -> str:
    """Imputes the missing values of a table's file, as `polymodal.impute` does.

    Arguments:
        folder: Run folder.
        file: CSV, Parquet or Feather file, or a folder of Parquet files.
        out: Output file of the same format; by default a file in the run folder. With `imputations`, one file per
            imputation is written; `-0`, `-1` and so on are appended to the stem of its name.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to impute; by default all.
        sure: Whether to add columns with the certainty of imputed cells, as in `polymodal.impute`.
        marked: Whether to add a column with the names of imputed columns, as in `polymodal.impute`.
        imputations: Number of imputed files, as in `polymodal.impute`.
        seed: Random seed of the posterior samples.
        bounds: Range of imputed numbers, as in `polymodal.impute`.
        interval: Probability of the intervals of imputed numbers, as in `polymodal.impute`; None for no intervals.
        options: Options for reading a CSV file; the options of the training table are the defaults.
        device: Device, as in `fit`.
        batch_size: Number of rows per batch.
        overwrite: Whether to replace an earlier result.

    Returns:
        A line with the number of imputed cells and the output files.

    Raises:
        FileNotFoundError: The run or the file does not exist.
        ValueError: A name does not exist, a cell cannot be read, `out` has another format than the file, `out` is not
            an earlier result, or `out` exists and `overwrite` is not set.
    """
    table = open_table_file(folder, file, options)
    kind = ".parquet" if table.parquet else csvfiles.kind(file)
    write = _choose_writer(table)
    stem = file.resolve().stem if table.parquet else file.resolve().name[: -len(kind)]
    out = out or choose_output(folder, f"{stem}-filled{kind}")
    if csvfiles.kind(out) != kind:
        raise ValueError(
            f"--out must have the same format as {file.name}; got {out}; use --out {out.with_suffix(kind)}"
        )
    numbers = [None] if imputations is None else range(imputations)
    outs = [out if one is None else out.with_name(f"{out.name[: -len(kind)]}-{one}{kind}") for one in numbers]
    sources = [file, *output_checks.training_table(folder)]
    for path in outs:
        _check_output(table, path, sources, overwrite=overwrite)
    model = open_model(folder, device)
    chosen = (parse_modality_names(some, model.schema) if some else None for some in (given, to))
    asked: dict[str, Any] = {"root": table.root, "seed": seed, "bounds": bounds, "interval": interval}
    fillers = [Imputer(model, *chosen, **asked, imputation=one) for one in numbers]
    rows = [write(filler, table, path, sure, marked, batch_size) for filler, path in zip(fillers, outs, strict=True)]
    filler = fillers[0]
    for sentence in table.messages + filler.list_messages():
        say(sentence)
    files = ", ".join(shlex.quote(str(path)) for path in outs)
    cells = f"{filler.imputed:,} cell{'s' * (filler.imputed != 1)}"
    return f"Imputed {cells} in {rows[0]:,} row{'s' * (rows[0] != 1)}: {files}"


def _check_output(table: File, out: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Checks that an output file can be written and would replace nothing but an earlier result."""
    if table.parquet:
        names = ParquetTable(table.path).unified.names
        parquet_output.check_parquet_output(out, "filled.parquet", sources, columns=names, overwrite=overwrite)
        return
    if not table.text:
        refuse = partial(_require_feather, table)
        output_checks.check_file(out, f"filled{csvfiles.kind(table.path)}", sources, refuse, overwrite=overwrite)
        return
    document = table.document
    as_read = document.options._replace(
        columns=None, header=document.options.has_header, missing=(), present=(), thousands=None
    )

    def require_result(path: Path) -> None:
        try:
            held = csvfiles.read(path, as_read).names
        except ValueError as error:
            raise ValueError(
                f"{path} must be a CSV file that this command wrote, because it will be replaced, and it is not; "
                "choose another --out"
            ) from error
        plain = [f"column_{place}" for place in range(len(document.names))]
        output_checks.require_columns(path, held, document.names if document.options.has_header else plain)

    output_checks.check_file(out, f"filled{csvfiles.kind(table.path)}", sources, require_result, overwrite=overwrite)


def _choose_writer(table: File) -> Writer:
    """Returns the function that imputes a file of this format and writes the result.

    Raises:
        ValueError: Files of this format can only be read.
    """
    if table.text or table.parquet:
        return _impute_csv if table.text else _impute_parquet
    if csvfiles.kind(table.path) in FEATHER:
        return _impute_feather
    raise ValueError(
        f"impute writes CSV, Parquet and Feather files, and cannot write the format of {table.path}; convert the table "
        "to one of these first, for example with pandas.DataFrame.to_parquet"
    )


def _require_feather(table: File, path: Path) -> None:
    """Checks that a file has all columns of a table, as every earlier result has."""
    held, names = ([str(name) for name in other_formats.read(one)] for one in (path, table.path))
    output_checks.require_columns(path, held, names)


def _impute_feather(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
    """Imputes a Feather file, and returns its number of rows."""
    import pyarrow as pa
    from pyarrow import feather

    table.read(size)  # raises an error if the file or the options are invalid
    whole = feather.read_table(table.path, memory_map=False)
    kinds = imputation.extend_arrow_schema(filler, whole.schema, sure, marked)
    made = imputation.impute_batches(filler, whole.to_batches(size), kinds, table.path)
    batches = [*show_progress(made, "imputing", len(whole), pa.RecordBatch.__len__)]
    feather.write_feather(pa.Table.from_batches(batches, kinds), content := io.BytesIO())
    checkpoint.write_bytes(out.resolve(), content.getvalue())
    return len(whole)


def _impute_parquet(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
    """Imputes Parquet files in batches of `size` rows, and returns their number of rows."""
    import pyarrow as pa

    lengths, _ = table.read(size)  # raises an error if options for CSV files are given
    files = ParquetTable(table.path)
    kinds = imputation.extend_arrow_schema(filler, files.schema, sure, marked)
    made = imputation.impute_batches(filler, files.batches(size), kinds, table.path)
    with parquet_output.write_parquet(out.resolve(), kinds) as write:
        for batch in show_progress(made, "imputing", sum(lengths), pa.RecordBatch.__len__):
            write(batch)
    return sum(lengths)


def _impute_csv(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
    """Imputes a CSV file, keeps every other character of it unchanged, and returns its number of rows."""
    with claim_outputs(out.resolve(), does="writes it"):
        return _write_csv(filler, table, out, sure, marked, size)


def _write_csv(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
    document, frame = table.document, table.document.frame
    added = filler.name_added_columns(frame.columns, sure, marked)
    starts = range(0, len(frame), size)
    pieces = [
        filler.impute_chunk(frame.iloc[start : start + size])
        for start in show_progress(starts, "imputing", len(starts))
    ]
    checkpoint.write_bytes(out.resolve(), imputation.format_csv(filler, document, pieces, starts, added))
    return len(frame)
