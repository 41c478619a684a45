"""Settings for training on a table's file, and the options with which a file is read."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, inf, log2
from pathlib import Path
from typing import Any

from polymodal import csvfiles
from polymodal.cli.run_data import read_source
from polymodal.csvfiles import Options, other_formats
from polymodal.datasets import DATASETS, user_tables
from polymodal.datasets.table_files import File
from polymodal.models import MODELS
from polymodal.runtime.formatting import brief, split_names
from polymodal.runtime.progress import say
from polymodal.runtime.registry import lookup
from polymodal.runtime.validation import check_types

__all__ = [
    "choose_defaults",
    "format_column_types",
    "infer_csv_options",
    "make_csv_options",
    "make_table_settings",
    "open_table_file",
    "parse_column_names",
    "read_training_options",
]

CONDITIONED = ("mac-wae", "m-wae")
"""Models whose default settings are those of `SIZES`."""
LARGE = {
    "schema.hidden": [64],
    "build.hidden": [256],
    "build.latent_dim": 32,
    "build.features": 16,
    "build.mask_hidden": 64,
    "build.members": 1,
    "fit.learning_rate": 0.005,
}
"""Default settings of large tables: one large network."""
MEDIUM = LARGE | {
    "schema.hidden": [32],
    "build.hidden": [128],
    "build.features": 8,
    "build.members": 4,
    "fit.learning_rate": 0.01,
}
"""Default settings of tables of medium size: an ensemble of smaller networks."""
SMALLEST = MEDIUM | {"schema.hidden": [16], "build.latent_dim": 16, "build.mask_hidden": 32}
"""Default settings of small tables. Networks of many columns are small, because they take most of the time."""
SIZES: tuple[tuple[float, int, dict[str, Any]], ...] = (
    (2_000, 300, SMALLEST | {"fit.batch_size": 32}),
    (10_000, 1_000, MEDIUM | {"fit.batch_size": 64}),
    (100_000, 1_600, LARGE | {"fit.batch_size": 256}),
    (inf, 3_000, LARGE | {"fit.batch_size": 1024}),
)
"""Default settings by the size of the table: its number of rows is below the first number, and the second one is the
approximate number of training steps."""
LINEAR = 10_000
"""Number of rows below which there is a linear path by default; it costs time in each prediction."""
SMALL = 2_000
"""Number of rows below which the default networks of other models are small."""
STEPS = 20_000
"""Approximate maximum number of training steps of other models; they are trained for at least 20 epochs."""


def make_table_settings(
    dataset: str | None,
    folder: Path | None,
    options: Options,
    modality: Sequence[str] | None,
    ignore: Sequence[str] | None,
    group: Sequence[str] | None,
    **shares: float | None,
) -> dict[str, Any]:
    """Returns the settings of `polymodal train` on a table's file, or no settings if the data set is not a file.

    `shares` are the fractions of the rows in the splits, by split.

    Raises:
        ValueError: Options for a table are given and the data set is not a file, or the file format is not supported.
    """
    said = {
        **{f"data.{name}": value for name, value in options.given.items()},
        "data.modality": _parse_column_types(modality or ()) or None,
        "data.ignore": [name for text in ignore or () for name in parse_column_names(text) or ()] or None,
        "data.group": list(group or ()) or None,
        **{f"data.{split}": share for split, share in shares.items()},
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


def _parse_column_types(texts: Iterable[str]) -> dict[str, str]:
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


def choose_defaults(rows: int, model: str = "mac-wae") -> dict[str, Any]:
    """Returns the default settings for a table of this size, restricted to those that the model has.

    MAC-WAE and M-WAE are ensembles of four small networks below 10,000 rows, and are trained for a number of steps that
    depends on the number of rows. Other models are trained for at most about 20,000 steps, or 20 epochs if these are
    more steps, and stop early after 20 epochs without improvement. docs/tables.md explains these choices.

    Arguments:
        rows: Number of rows of the table.
        model: Name of the model.

    Example:
        >>> [choose_defaults(rows)["fit.epochs"] for rows in (300, 3_000, 30_000)]
        [32, 22, 14]
    """
    if model in CONDITIONED:
        steps, sizes = next((steps, sizes) for limit, steps, sizes in SIZES if rows < limit)
        return {
            **sizes,
            "build.draws": 4,
            "build.factors": 64 if rows < LINEAR else 0,
            "fit.epochs": max(3, ceil(steps * sizes["fit.batch_size"] / max(1, rows))),
            "fit.schedule": "cosine",
        }
    small, batch_size = rows < SMALL, min(max(32, 2 ** round(log2(max(1, rows) / 50))), 1024)
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


def parse_column_names(columns: str | None) -> list[str] | None:
    """Parses names of columns from "a,b,c", or from a file with names that are separated by commas or line breaks.

    A name that contains a comma must be in double quotes.

    Raises:
        ValueError: A name occurs twice or is empty, or the file cannot be read as UTF-8.

    Example:
        >>> parse_column_names("age, sex"), parse_column_names(None)
        (['age', 'sex'], None)
    """
    if columns is None:
        return None
    try:
        text = Path(columns).read_text(encoding="utf-8") if _is_file(columns) else columns
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{columns} must hold column names, in UTF-8: {brief(error)}") from error
    made = split_names(text.strip())
    if len({*made}) < len(made) or "" in made:
        raise ValueError(f"columns must be different names, separated by commas; got {columns!r}")
    return made


def make_csv_options(
    columns: str | None = None,
    missing: Sequence[str] | None = None,
    present: Sequence[str] | None = None,
    **others: Any,
) -> Options:
    """Returns the options for reading a CSV file, from the arguments of the command line.

    Arguments:
        columns: Names of the columns, as in `parse_column_names`.
        missing: Further texts that are read as missing values, as in `Options`.
        present: Texts that are not read as missing values, as in `Options`.
        **others: Further fields of `Options`.
    """
    return Options(parse_column_names(columns), list(missing or ()), list(present or ()), **others)


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


def open_table_file(folder: Path, path: Path, options: Options) -> File:
    """Returns a table's file that is read with the options of the run's training table by default.

    Arguments:
        folder: Run folder.
        path: Path of the file.
        options: Options that take precedence over those of the training table.

    Raises:
        FileNotFoundError: The folder holds neither a run nor a model.
        ValueError: The file format is not supported, or the run's record of its data is damaged.
    """
    other_formats.refuse_unknown(path)
    file = File(path, options)
    if not file.text or (trained := read_training_options(folder)) is None:
        return file
    return File(path, options.after(trained), trained)


def read_training_options(folder: Path) -> Options | None:
    """Returns the options with which a run's training table was read; None if the run has another data set.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The run's record of its data is damaged.
    """
    source = read_source(folder)
    if source.get("dataset") != "table":
        return None
    arguments = source.get("arguments", {})
    known = {name: arguments[name] for name in Options._fields if arguments.get(name) is not None}
    check_types(known, user_tables.table, f"{folder}/experiment.json")
    return Options.of(known)


def format_column_types(data: Mapping[str, Any]) -> str:
    """Returns a text with the inferred type of each column of a table and the reason for it."""
    from polymodal import tabular

    return tabular.format_proposals(user_tables.propose_types(**data))
