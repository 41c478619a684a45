"""The command `polymodal sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.interruption import claim_output
from polymodal.cli.shared_options import BoundsOption, Device, Overwrite, RunFolder

__all__ = ["sample"]


def sample(
    folder: RunFolder,
    number: Annotated[int, typer.Option(min=1, help="Number of rows to sample.")] = 16,
    seed: Annotated[int, typer.Option(help="Random seed for sampling.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder; by default samples in the run folder, or in the current folder for a model without "
            "its run."
        ),
    ] = None,
    bounds: BoundsOption = "observed",
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Sample rows unconditionally, from the prior, and write images, a table and a contact sheet.

    The samples are written into a folder: images as PNG files, all other values to table.csv, and grid.png shows the
    samples.
    """
    from polymodal.cli.console import show_predictions
    from polymodal.cli.predict import sample_to_folder
    from polymodal.cli.run_data import choose_output

    options: dict[str, Any] = {"number": number, "seed": seed, "bounds": bounds, "device": device}
    with claim_output(out := out or choose_output(folder, "samples")):
        show_predictions(*sample_to_folder(folder, out=out, overwrite=overwrite, **options))
