"""The command `polymodal export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from polymodal.cli.shared_options import Overwrite, RunFolder

__all__ = ["export"]


def export(
    folder: RunFolder,
    to: Annotated[Literal["onnx"], typer.Option(help="Format of the files.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Output folder; by default the folder onnx in the run folder.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a trained model as ONNX files, which predict without PyTorch.

    The folder has three graphs, which share one file of weights: encode.onnx (values and the mask of observed
    modalities to the latent code), decode.onnx (the code to predictions) and translate.onnx (both). The file
    schema.json has the names of the tensors, classes, words and units. They give one prediction per row, no samples.
    """
    from polymodal.cli.export_run import export_run

    export_run(folder, out, to=to, overwrite=overwrite)
