"""Demo on PolyDigits: trains a model, evaluates it, and writes a report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli import output_folder, train, training_summary
from polymodal.cli.run_folder import experiment, write_report, write_scores
from polymodal.cli.terminal import tell
from polymodal.evaluation import evaluate
from polymodal.io import checkpoint
from polymodal.io.locks import LOCK, claim_folder
from polymodal.runtime.progress import format_duration
from polymodal.settings import Settings, make, resolve
from polymodal.training import holds_run

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.datasets import Dataset
    from polymodal.models import Model

__all__ = ["run_demo", "summarise_demo"]

MADE = ["translations", "samples"]
FILES = [*train.FILES, *MADE]
"""Files and folders of a demo, and the outputs of later commands in its folder."""

# Small networks and few masks per step keep training fast on two CPU cores. All other settings are defaults.
WIDTHS = (16, 32)
MODEL: dict[str, Any] = {"latent_dim": 64, "draws": 3, "prior": "flow"}
FIT: dict[str, Any] = {"batch_size": 128, "learning_rate": 2e-3}
PRIOR = 6
"""Number of passes of the flow over the training rows per epoch of the autoencoder."""

TOTAL = 2.0
"""Approximate time of the demo with its default settings, in multiples of the training time of the autoencoder."""


def run_demo(folder: Path, *, epochs: int, rows: int, seed: int, device: str) -> tuple[Path, pd.DataFrame]:
    """Trains MAC-WAE on PolyDigits, evaluates it on held-out digits, and writes a report.

    Arguments:
        folder: Run folder; an earlier demo in it is replaced.
        epochs: Number of passes over the training rows.
        rows: Number of training rows.
        seed: Random seed of the data, the initial weights and the training.
        device: Device, as in `fit`.

    Returns:
        The path of the report, and the scores.

    Raises:
        ValueError: The folder holds other files.
    """
    settings = resolve(
        {
            "dataset": "polydigits",
            "folder": str(folder),
            "data": {"rows": rows, "seed": seed},
            "schema": {"widths": WIDTHS},
            "build": {**MODEL, "seed": seed},
            "fit": {**FIT, "epochs": epochs, "prior_epochs": PRIOR * epochs, "seed": seed, "device": device},
        }
    )
    with claim_folder(folder, "runs the demo in it"):
        return _train_and_evaluate(settings, folder)


def _train_and_evaluate(settings: Settings, folder: Path) -> tuple[Path, pd.DataFrame]:
    earlier = _holds_earlier_demo(folder)
    train.check_run(settings, new=not earlier)
    data, model = make(settings)
    rows = replace(data.train, source={**data.train.source, "command": "demo"})
    _announce(settings, data, model)
    if earlier:
        _clear(folder)
    train.train_in_folder(settings, replace(data, train=rows), model)
    scores = evaluate(model, data.test, progress=True)
    write_scores(folder / "scores.csv", scores)
    return write_report(folder, model, data.test), scores


def _announce(settings: Settings, data: Dataset, model: Model) -> None:
    """Prints what the demo trains, and about how long it takes."""
    seconds = training_summary.estimate_training_seconds(settings, data, model)
    tell(training_summary.describe_training(settings, data, model, seconds))
    tell(
        "With the flow prior, the evaluation and the report, the demo takes about "
        f"{format_duration(TOTAL * seconds)} in all."
    )


def summarise_demo(scores: pd.DataFrame) -> str:
    """Returns a sentence with the label accuracy on held-out digits given all images and given one image."""
    label = scores[(scores["modality"] == "label") & (scores["metric"] == "acc")].groupby("task")["value"].mean()
    return (
        f"On held-out digits, the label accuracy is {label['many-to-one']:.1f} % given all five images, and "
        f"{label['one-to-one']:.1f} % given one image (mean over the five)."
    )


def _holds_earlier_demo(folder: Path) -> bool:
    """Returns whether the folder holds an earlier demo.

    Raises:
        ValueError: The folder holds other files.
    """
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} - {LOCK}:
        return False
    if not (folder / "experiment.json").exists() or experiment(folder)["data"].get("command") != "demo":
        names = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
        held = "another run" if holds_run(folder) else ", ".join(names[:3])
        raise ValueError(f"{folder} must be empty or hold an earlier demo; it holds {held}; choose another folder")
    checkpoint.sweep(folder)
    checkpoint.refuse_foreign(folder, [*FILES, LOCK])
    for name in MADE:
        if foreign := output_folder.list_foreign_files(folder / name):
            raise ValueError(
                f"{folder} must hold only a demo and predictions made with it, because it will be replaced; it holds "
                f"{name}/{foreign[0]}; choose another folder"
            )
    return True


def _clear(folder: Path) -> None:
    """Empties the folder of a demo; `experiment.json`, which identifies the demo, is removed last."""
    every = [path for path in folder.iterdir() if path.name != LOCK]
    for path in sorted(every, key=lambda path: path.name == "experiment.json"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
