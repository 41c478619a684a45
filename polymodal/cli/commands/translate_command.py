"""The command `polymodal translate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.interruption import claim_output
from polymodal.cli.shared_options import (
    BatchSize,
    BoundsOption,
    Csv,
    Device,
    Given,
    InputSplit,
    InputTable,
    OnChanged,
    Overwrite,
    RunFolder,
    accept_csv_options,
    open_input_table,
)

__all__ = ["translate"]


@accept_csv_options
def translate(
    folder: RunFolder,
    file: InputTable = None,
    given: Given = None,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Modalities to predict, separated by commas; repeatable. By default all."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Row numbers and ranges, such as 0:8 or 3,5,9; by default 0:8, or all rows if --out is a Parquet file."
        ),
    ] = None,
    split: InputSplit = None,
    csv: Csv = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of posterior samples per row; by default one prediction from the posterior mean."
        ),
    ] = None,
    combine: Annotated[
        str | None, typer.Option(help="mean: combine the samples of a row into one estimate.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of solver steps of a flow prior; by default 25.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Weight of the given modalities in samples from a flow prior; by default 1. Samples with a larger "
            "weight vary less.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Scale of the noise in samples from a flow prior; by default 1. Samples at 0.8 are more typical and "
            "vary less.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the posterior samples.")] = 0,
    bounds: BoundsOption = "observed",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder, by default translations in the run folder, or in the current folder for a model "
            "without its run; or an output file, FILE.parquet."
        ),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    on_changed: OnChanged = "error",
) -> None:
    """Predict modalities of rows from other modalities, and write images, a table and a contact sheet.

    The predictions are written into a folder: images as PNG files, all other values to table.csv, and grid.png shows
    the predictions next to the true values. If --out ends in .parquet, all predictions are written to this one file,
    batch by batch, so a split or a table of any size fits in memory. The file has one line per row, or one per sample
    with --samples. Rows in which none of the given modalities is observed are left out of it.
    """
    from polymodal.cli import console, predict, stream_predictions
    from polymodal.cli.run_data import choose_output

    table = open_input_table(folder, file, csv)
    options: dict[str, Any] = {"given": given or (), "to": to or (), "split": split, "device": device, "seed": seed}
    options |= {"samples": samples, "combine": combine, "steps": steps, "guidance": guidance, "bounds": bounds}
    options |= {"temperature": temperature, "overwrite": overwrite, "on_changed": on_changed}
    if out is None or out.suffix != ".parquet":
        rows = rows or "0:8"
        with claim_output(out := out or choose_output(folder, "translations")):
            console.show_predictions(*predict.translate_to_folder(folder, table, rows=rows, out=out, **options))
        return
    options |= {"rows": rows, "batch_size": batch_size}
    counts = stream_predictions.translate_to_parquet(folder, table, out=out, **options)
    console.show_written_rows("Predictions for", counts, out)
