"""User tables on the command line: settings for training on a table's file, and imputation of a table's file."""

from __future__ import annotations

import inspect
import io
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import log2
from pathlib import Path
from typing import Any

from polymodal import csvfiles, imputation
from polymodal.cli import output_checks, parquet_output
from polymodal.cli.predict import parse_modality_names
from polymodal.cli.run_folder import experiment, open_model
from polymodal.csvfiles import Options, other_formats
from polymodal.datasets import DATASETS, user_tables
from polymodal.datasets.table_files import USUAL, File
from polymodal.inference import imputed_cells
from polymodal.inference.imputer import Imputer
from polymodal.io import checkpoint
from polymodal.io.locks import claim_outputs
from polymodal.io.parquet_files import ParquetTable
from polymodal.modalities.base import Bounds
from polymodal.models import MODELS
from polymodal.runtime.formatting import brief, split_names
from polymodal.runtime.progress import say, show_progress
from polymodal.runtime.registry import lookup
from polymodal.runtime.validation import check_types

__all__ = [
    "csv_options",
    "defaults",
    "format_column_types",
    "impute",
    "infer_csv_options",
    "names",
    "of_run",
    "settings",
]


SMALL = 2000
"""Number of rows below which the default networks are small."""
FEATHER = (".feather", ".arrow")
STEPS = 20_000
"""Approximate maximum number of training steps; at least 20 epochs are trained even if they need more steps."""


def settings(
    dataset: str | None,
    folder: Path | None,
    options: Options,
    modality: Sequence[str] | None,
    ignore: Sequence[str] | None,
    group: Sequence[str] | None,
) -> dict[str, Any]:
    """Returns the settings of `polymodal train` on a table's file, or no settings if the data set is not a file.

    Raises:
        ValueError: Options for a table are given and the data set is not a file, or the file format is not supported.
    """
    said = {
        **{f"data.{name}": value for name, value in options.given.items()},
        "data.modality": _modalities(modality or ()) or None,
        "data.ignore": [name for text in ignore or () for name in names(text) or ()] or None,
        "data.group": list(group or ()) or None,
    }
    given = {name: value for name, value in said.items() if value is not None}
    if dataset is not None and dataset not in DATASETS and other_formats.is_meant(dataset):
        other_formats.refuse_unknown(dataset)
    if dataset is None or not user_tables.is_file(dataset):
        if given:
            option = next(iter(given)).removeprefix("data.").replace("header", "no-header")
            raise ValueError(f"--{option} is for a table's file, such as birds.csv; got {dataset or 'none'}")
        return {}
    stem = Path(dataset).resolve().stem
    return {"dataset": "table", "data.path": dataset, "folder": str(folder or f"runs/{stem}"), **given}


def _is_file(text: str) -> bool:
    """Returns whether a text is the path of a file; a text that is too long for a path is not."""
    try:
        return Path(text).is_file()
    except OSError:
        return False


def _modalities(texts: Iterable[str]) -> dict[str, str]:
    """Parses the types of columns from "name=kind", and returns them by name; a name may contain "=".

    Raises:
        ValueError: The name or the kind is empty, or a name is given twice.
    """
    made: dict[str, str] = {}
    for text in texts:
        name, equals, kind = text.rpartition("=")
        if not (equals and name.strip() and kind.strip()):
            raise ValueError(f"--modality must be NAME=KIND, such as caption=text:24; got {text!r}")
        if name in made:
            raise ValueError(f"--modality must be given once for a column; got {name!r} twice; leave one out")
        made[name] = kind.strip()
    return made


def defaults(rows: int, model: str = "mac-wae") -> dict[str, Any]:
    """Returns the default settings for a table of this size, restricted to those that the model has.

    Small tables get small networks and small batches. Training takes at most about 20,000 steps, or 20 epochs if these
    are more steps. It stops early after 20 epochs without improvement. docs/tables.md explains these choices.

    Arguments:
        rows: Number of rows of the table.
        model: Name of the model.

    Example:
        >>> [defaults(rows)["fit.epochs"] for rows in (300, 30_000, 1_000_000)]
        [300, 300, 20]
    """
    batch_size = min(max(32, 2 ** round(log2(max(1, rows) / 50))), 1024)
    small = rows < SMALL
    suited = {
        "schema.hidden": [32] if small else [64],
        "build.hidden": [128] if small else [256],
        "build.latent_dim": 32,
        "fit.batch_size": batch_size,
        "fit.epochs": int(min(max(20, STEPS * batch_size / max(1, rows)), 300)),
        "fit.patience": 20,
        "fit.learning_rate": 2e-3,
    }
    known = inspect.signature(lookup(MODELS, model, "model")).parameters
    return {name: value for name, value in suited.items() if name != "build.hidden" or "hidden" in known}


def names(columns: str | None) -> list[str] | None:
    """Parses names of columns from "a,b,c", or from a file with names that are separated by commas or line breaks.

    A name that contains a comma must be in double quotes.

    Raises:
        ValueError: A name occurs twice or is empty, or the file cannot be read as UTF-8.

    Example:
        >>> names("age, sex"), names(None)
        (['age', 'sex'], None)
    """
    if columns is None:
        return None
    try:
        text = Path(columns).read_text(encoding="utf-8") if _is_file(columns) else columns
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{columns} must hold names of columns, in UTF-8: {brief(error)}") from error
    made = split_names(text.strip())
    if len({*made}) < len(made) or "" in made:
        raise ValueError(f"columns must have names, each another, with commas between them; got {columns!r}")
    return made


def csv_options(
    columns: str | None = None,
    missing: Sequence[str] | None = None,
    present: Sequence[str] | None = None,
    **others: Any,
) -> Options:
    """Returns the options for reading a CSV file, from the arguments of the command line.

    Arguments:
        columns: Names of the columns, as in `names`.
        missing: Further texts that are read as missing values, as in `Options`.
        present: Texts that are not read as missing values, as in `Options`.
        **others: Further fields of `Options`.
    """
    return Options(names(columns), list(missing or ()), list(present or ()), **others)


def infer_csv_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options for reading a CSV file that are inferred from its first lines.

    Options that are given in the settings or that have their default value are left out.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not text, or its lines do not fit the inferred separator.
    """
    file = File(Path(data["path"]), Options.of(data))
    if not file.text or not (made := csvfiles.detect_options(file.path, file.options)).given:
        return {}
    say(csvfiles.describe_detected_options(file.path, made))
    return made.given


def of_run(folder: Path, path: Path, options: Options) -> File:
    """Returns a table's file that is read with the options of the run's training table by default.

    Arguments:
        folder: Run folder.
        path: Path of the file.
        options: Options that take precedence over those of the training table.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The file format is not supported, or the run's record of its data is damaged.
    """
    other_formats.refuse_unknown(path)
    file = File(path, options)
    source = experiment(folder)["data"]
    if not file.text or source.get("dataset") != "table":
        return file
    arguments = source.get("arguments", {})
    known = {name: arguments[name] for name in Options._fields if arguments.get(name) is not None}
    check_types(known, user_tables.table, f"{folder}/experiment.json")
    trained = Options.of(known)
    return File(path, options.after(trained), trained)


def format_column_types(data: Mapping[str, Any]) -> str:
    """Returns a text with the inferred type of each column of a table and the reason for it."""
    from polymodal import tabular

    return tabular.format_proposals(user_tables.propose_types(**data))


def impute(
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
    table = of_run(folder, file, options)
    kind = ".parquet" if table.parquet else csvfiles.kind(file)
    write = _writer(table)
    out = out or folder / f"{file.resolve().stem if table.parquet else file.resolve().name[: -len(kind)]}-filled{kind}"
    if csvfiles.kind(out) != kind:
        raise ValueError(
            f"--out must be of the same kind as {file.name}; got {out}; write --out {out.with_suffix(kind)}"
        )
    numbers = [None] if imputations is None else range(imputations)
    outs = [out if one is None else out.with_name(f"{out.name[: -len(kind)]}-{one}{kind}") for one in numbers]
    sources = [file, *output_checks.training_table(folder)]
    for path in outs:
        _check(table, path, sources, overwrite=overwrite)
    model = open_model(folder, device)
    chosen = (parse_modality_names(some, model.schema) if some else None for some in (given, to))
    asked: dict[str, Any] = {"root": table.root, "seed": seed, "bounds": bounds}
    fillers = [Imputer(model, *chosen, **asked, imputation=one) for one in numbers]
    rows = [write(filler, table, path, sure, marked, batch_size) for filler, path in zip(fillers, outs, strict=True)]
    filler = fillers[0]
    for sentence in table.messages + filler.list_messages():
        say(sentence)
    files = ", ".join(shlex.quote(str(path)) for path in outs)
    return f"Filled {filler.imputed:,} cells of {rows[0]:,} rows: {files}"


def _check(table: File, out: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Checks that an output file can be written and would replace nothing but an earlier result."""
    if table.parquet:
        names = ParquetTable(table.path).unified.names
        parquet_output.check(out, "filled.parquet", sources, columns=names, overwrite=overwrite)
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
                f"{path} must be a CSV file as this command writes it, for it is replaced, and is something else; "
                "choose another --out"
            ) from error
        plain = [f"column_{place}" for place in range(len(document.names))]
        output_checks.require_columns(path, held, document.names if document.options.has_header else plain)

    output_checks.check_file(out, f"filled{csvfiles.kind(table.path)}", sources, require_result, overwrite=overwrite)


def _writer(table: File) -> Callable[[Imputer, File, Path, bool, bool, int], int]:
    """Returns the function that imputes a file of this format and writes the result.

    Raises:
        ValueError: Files of this format can only be read.
    """
    if table.text or table.parquet:
        return _csv if table.text else _parquet
    if csvfiles.kind(table.path) in FEATHER:
        return _feather
    raise ValueError(
        f"impute writes CSV, Parquet and Feather files, and can only read {table.path}; write it as one of these, such "
        "as by DataFrame.to_parquet of pandas"
    )


def _require_feather(table: File, path: Path) -> None:
    """Checks that a file has all columns of a table, as every earlier result has."""
    held, names = ([str(name) for name in other_formats.read(one)] for one in (path, table.path))
    output_checks.require_columns(path, held, names)


def _feather(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
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


def _parquet(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
    """Imputes Parquet files in batches of `size` rows, and returns their number of rows."""
    import pyarrow as pa

    lengths, _ = table.read(size)  # raises an error if options for CSV files are given
    files = ParquetTable(table.path)
    kinds = imputation.extend_arrow_schema(filler, files.schema, sure, marked)
    made = imputation.impute_batches(filler, files.batches(size), kinds, table.path)
    with parquet_output.writing(out.resolve(), kinds) as write:
        for batch in show_progress(made, "imputing", sum(lengths), pa.RecordBatch.__len__):
            write(batch)
    return sum(lengths)


def _csv(filler: Imputer, table: File, out: Path, sure: bool, marked: bool, size: int) -> int:
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
    holes = imputed_cells.concat_cells(pieces, starts)
    texts = {name: filler.format_cells(name, hole.cells) for name, hole in holes.items()}
    cells = {name: (hole.rows, document.localize(name, texts[name])) for name, hole in holes.items()}
    columns = [
        csvfiles.Added(name, None, texts)
        if after == imputed_cells.FILLED
        else csvfiles.Added(name, after, [text.replace(".", document.options.decimal or ".") for text in texts])
        for after, name, texts in imputed_cells.format_added_columns(frame, holes, added)
    ]
    checkpoint.write_bytes(out.resolve(), document.fill(cells, columns))
    return len(frame)
