"""Options and arguments that several commands share, and the options for reading a CSV file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from polymodal.datasets.table_files import File

__all__ = [
    "BatchSize",
    "BoundsOption",
    "Csv",
    "Device",
    "Given",
    "InputSplit",
    "InputTable",
    "OnChanged",
    "Overwrite",
    "RunFolder",
    "accept_csv_options",
    "open_input_table",
]


def find_run_folder(text: str) -> Path:
    """Returns the run folder that a text names; a model on the Hugging Face Hub is downloaded into the Hub's cache.

    Raises:
        OSError: The model cannot be downloaded.
        ValueError: The address is not valid, or its repository holds a pickle.
    """
    if not text.startswith("hf://"):
        return Path(text)
    from polymodal.io.hub_files import download_model, parse_address

    return download_model(parse_address(text))


RunFolder = Annotated[
    Path,
    typer.Argument(
        parser=str,
        callback=find_run_folder,
        help="Run folder, as `polymodal train` writes it, or folder of a model, or a model on the Hugging Face Hub, "
        "hf://owner/name or hf://owner/name@revision.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Number of rows per batch.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result of this command.")]
InputSplit = Annotated[
    str | None,
    typer.Option(help="Split of the run's data set with the input rows: test, validation or train; by default test."),
]
InputTable = Annotated[
    Path | None,
    typer.Argument(
        help="Table with the input rows: a CSV, Parquet, Feather or JSON lines file, or a folder of Parquet files. By "
        "default the rows of --split are used.",
        show_default=False,
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        help="Modalities to condition on, separated by commas; repeatable. By default all that a row observes.",
    ),
]
BoundsOption = Annotated[
    str,
    typer.Option(
        "--bounds",
        help="Limits of predicted numbers that are never negative in the training rows. observed: their smallest and "
        "largest training values; non-negative: at least 0; none: no limits.",
    ),
]
OnChanged = Annotated[
    str,
    typer.Option(
        metavar="error|warn",
        help="Behaviour if the table that the run was trained on has changed since training: stop with an error, or "
        "warn and read it with the model's schema.",
    ),
]

Csv = dict[str, Any] | None
"""Values of the options for reading a CSV file, by name."""
READING = {
    "columns": Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Column names of a CSV file that has no header line: a,b,c, or a file with the names.",
        ),
    ],
    "missing": Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Further text that marks a missing value in a CSV file, such as '?'; repeatable."
        ),
    ],
    "present": Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text in a CSV file that is a value although it marks missing values by default, such as NA; or "
            "country=NA for one column; repeatable.",
        ),
    ],
    "separator": Annotated[
        str | None,
        typer.Option(
            metavar="CHAR",
            help="Character between the cells of a CSV file, or tab; by default inferred from its first lines.",
        ),
    ],
    "decimal": Annotated[
        str | None,
        typer.Option(metavar="CHAR", help="Decimal mark of a CSV file; by default inferred from its first lines."),
    ],
    "thousands": Annotated[
        str | None,
        typer.Option(metavar="CHAR", help="Thousands separator in the numbers of a CSV file; by default none."),
    ],
    "encoding": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Encoding of a CSV file, such as cp1252; by default the encoding of its byte order mark, or UTF-8.",
        ),
    ],
    "quote": Annotated[
        str | None,
        typer.Option(metavar="CHAR", help='Quote character of a CSV file, or none for no quoting; by default ".'),
    ],
    "header": Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether the first line of a CSV file holds the column names. Without names, the columns are called "
            "column_0, column_1 and so on.",
            show_default=False,
        ),
    ],
}
"""Options for reading a CSV file, by name."""


def accept_csv_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a command with an argument `csv`: the command line gets all options for reading a CSV file instead.

    The command receives their values as a mapping by name.
    """

    @wraps(command)
    def run(**given: Any) -> None:
        csv = {name: given.pop(name) for name in READING}
        command(**given, csv=csv)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        options = [parameter.replace(name=name, annotation=kind) for name, kind in READING.items()]
        parameters += options if parameter.name == "csv" else [parameter]
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def open_input_table(folder: Path, file: Path | None, csv: Csv) -> File | None:
    """Returns the table with the input rows, or None if no file is named.

    Arguments:
        folder: Run folder.
        file: Path of the table.
        csv: Options for reading a CSV file.

    Raises:
        ValueError: Options for a CSV file are given without a file.
    """
    from polymodal.cli.table_settings import make_csv_options, open_table_file

    options = make_csv_options(**csv or {})
    if file is not None:
        return open_table_file(folder, file, options)
    if options.given:
        name = next(iter(options.given))
        raise ValueError(f"--{name} is for a table's file, and no file is given; name the file after the run folder")
    return None
