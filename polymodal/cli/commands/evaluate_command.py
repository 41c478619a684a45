"""The command `polymodal evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.shared_options import BatchSize, Device, OnChanged, RunFolder
from polymodal.cli.terminal import tell
from polymodal.runtime.formatting import printable

__all__ = ["evaluate"]


def evaluate(
    folder: RunFolder,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split to evaluate on: test, validation or train; by default test, or validation if the run has no "
            "test rows.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        str,
        typer.Option(
            help="Evaluation tasks, separated by commas. Further tasks are translation, coherence, sampling, "
            "generation, likelihood and probe."
        ),
    ] = "reconstruction,many-to-one,one-to-one",
    inception: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights of Inception-v3; with them, the task generation also computes the FID of images.",
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    on_changed: OnChanged = "error",
) -> None:
    """Evaluate the model of a run, and write the scores to scores.csv in the run folder.

    The scores of a split other than the test split are written to scores-SPLIT.csv. Earlier scores of the same tasks
    are replaced; scores of other tasks are kept.

    The scores of a table's columns given all others are printed next to those of the mean or the most frequent class,
    and of a ridge or logistic regression on the other columns.
    """
    from polymodal.cli import console, run_folder

    names = [task.strip() for task in tasks.split(",")]
    options: dict[str, Any] = {"inception": inception, "device": device, "batch_size": batch_size}
    path, scores, schema = run_folder.evaluate_run(folder, split=split, tasks=names, on_changed=on_changed, **options)
    console.show(console.tabulate_scores(scores, schema))
    tell(f"Scores: {printable(path)}")
