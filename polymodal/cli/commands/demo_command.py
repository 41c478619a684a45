"""The command `polymodal demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.interruption import suggest_resume
from polymodal.cli.shared_options import Device
from polymodal.cli.terminal import tell
from polymodal.runtime.formatting import printable

__all__ = ["demo"]


def demo(
    folder: Annotated[Path, typer.Option(help="Run folder; an earlier demo in it is replaced.")] = Path("runs/demo"),
    epochs: Annotated[
        int, typer.Option(min=1, help="Number of passes over the training rows; more take longer and score better.")
    ] = 11,
    rows: Annotated[int, typer.Option(min=10, help="Number of training rows, a multiple of 10.")] = 12_800,
    seed: Annotated[int, typer.Option(help="Random seed of the data, the initial weights and the training.")] = 0,
    device: Device = "auto",
) -> None:
    """Train MAC-WAE on PolyDigits, evaluate it on held-out digits, and write a report with images.

    The demo prints at its start about how long it will take, and its progress while it runs.
    """
    from polymodal.cli.demo import run_demo, summarise_demo

    with suggest_resume(folder, always=False):
        path, scores = run_demo(folder, epochs=epochs, rows=rows, seed=seed, device=device)
    tell(f"Report: {printable(path.resolve())}")
    tell(summarise_demo(scores))
