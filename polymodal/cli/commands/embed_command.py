"""The command `polymodal embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.shared_options import (
    BatchSize,
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

__all__ = ["embed"]


@accept_csv_options
def embed(
    folder: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Output file, in Parquet format.")],
    file: InputTable = None,
    given: Given = None,
    split: InputSplit = None,
    csv: Csv = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    on_changed: OnChanged = "error",
) -> None:
    """Write the latent codes of rows to a Parquet file.

    The rows are those of a split or of a table. The file has the columns row, z0, z1, ..., and one per label. Rows in
    which none of the given modalities is observed are left out.
    """
    from polymodal.cli.console import show_written_rows
    from polymodal.cli.stream_predictions import embed_to_parquet

    table = open_input_table(folder, file, csv)
    options: dict[str, Any] = {"given": given or (), "split": split, "device": device, "batch_size": batch_size}
    options |= {"overwrite": overwrite, "on_changed": on_changed}
    show_written_rows("Codes of", embed_to_parquet(folder, table, out=out, **options), out)
