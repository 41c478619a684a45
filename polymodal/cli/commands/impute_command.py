"""The command `polymodal impute`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.shared_options import BoundsOption, Csv, Device, Given, Overwrite, RunFolder, accept_csv_options
from polymodal.cli.terminal import tell

__all__ = ["impute"]


@accept_csv_options
def impute(
    folder: RunFolder,
    file: Annotated[
        Path,
        typer.Argument(help="Table to impute: a CSV, Parquet or Feather file, or a folder of Parquet files."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Output file of the same format; by default a file in the run folder, or in the current folder for a "
            "model without its run.",
        ),
    ] = None,
    given: Given = None,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Modalities to impute, separated by commas; repeatable. By default all."),
    ] = None,
    sure: Annotated[bool, typer.Option("--sure", help="Add columns with the certainty of each imputed cell.")] = False,
    marked: Annotated[
        bool, typer.Option("--marked", help="Add a column with the names of the imputed columns of each row.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL",
            help="Add columns with the ends of intervals that contain the true numbers with this probability, such "
            "as 0.9.",
        ),
    ] = None,
    imputations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Multiple imputation: write this many files, each with one posterior sample per row. The model must "
            "have posterior samples, such as mac-vae, or a model that was trained with --set build.members=4 or "
            "--set prior=flow.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the posterior samples.")] = 0,
    bounds: BoundsOption = "observed",
    csv: Csv = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Number of rows per batch.")] = 4096,
) -> None:
    """Impute the missing values of a table, in its original units, and keep every observed cell.

    CSV and Feather files are read as a whole, Parquet files batch by batch, so a Parquet file may be larger than
    memory. The certainty of an imputed class is its probability. The certainty of an imputed number is the standard
    deviation over posterior samples, for models that have them, and otherwise that of the errors on validation rows.
    The intervals of --interval are calibrated on the validation rows too; classes have none. With --imputations 5 and
    --out whole.csv, the files are called whole-0.csv to whole-4.csv; the variation between them shows how uncertain the
    model is.
    """
    from polymodal.cli.impute_file import impute_table_file
    from polymodal.cli.table_settings import make_csv_options

    options: dict[str, Any] = {"given": given or (), "to": to or (), "options": make_csv_options(**csv or {})}
    options |= {
        "sure": sure,
        "marked": marked,
        "interval": interval,
        "imputations": imputations,
        "seed": seed,
        "overwrite": overwrite,
    }
    options |= {"bounds": bounds, "device": device, "batch_size": batch_size}
    tell(impute_table_file(folder, file, out, **options))
