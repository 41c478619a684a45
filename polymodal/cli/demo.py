"""The whole way on PolyDigits: train, score, report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli import output_folder
from polymodal.cli import train as training
from polymodal.cli.run_folder import experiment, write_report, write_scores
from polymodal.evaluation import evaluate
from polymodal.io import checkpoint
from polymodal.io.locks import LOCK, claim_folder
from polymodal.settings import Settings, resolve
from polymodal.training import holds_run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run"]

MADE = ["translations", "samples"]
FILES = [*training.FILES, *MADE]
"""What a demo leaves in its folder, and what can be made from it there."""

# Small networks and few masks per step, for two cores; all else is the library's default.
WIDTHS = (16, 32)
MODEL: dict[str, Any] = {"latent_dim": 64, "draws": 3, "prior": "flow"}
FIT: dict[str, Any] = {"batch_size": 128, "learning_rate": 2e-3}
PRIOR = 6
"""Passes of the flow over the training rows, for each of the autoencoder."""


def run(folder: Path, *, epochs: int, rows: int, seed: int, device: str) -> tuple[Path, pd.DataFrame]:
    """Trains MAC-WAE on PolyDigits, scores it on held-out handwriting, and writes a report.

    Arguments:
        folder: Of the run; an earlier demo there is replaced.
        epochs: Passes over the training rows.
        rows: Training rows.
        seed: Of the data, the weights and the training.
        device: As in `fit`.

    Returns:
        The report's path, and the scores.

    Raises:
        ValueError: The folder holds something else.
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
    with claim_folder(folder, "makes a demo in it"):
        return _run(settings, folder)


def _run(settings: Settings, folder: Path) -> tuple[Path, pd.DataFrame]:
    earlier = _earlier(folder)
    training.check(settings, new=not earlier)
    data, model = training.make(settings)
    train = replace(data.train, source={**data.train.source, "command": "demo"})
    if earlier:
        _clear(folder)
    training.run(settings, replace(data, train=train), model)
    scores = evaluate(model, data.test, progress=True)
    write_scores(folder / "scores.csv", scores)
    return write_report(folder, model, data.test), scores


def headline(scores: pd.DataFrame) -> str:
    """The label's accuracy in one sentence."""
    label = scores[(scores["modality"] == "label") & (scores["metric"] == "acc")].groupby("task")["value"].mean()
    return (
        f"On held-out handwriting, the label from the five pictures is right in {label['many-to-one']:.1f} %, "
        f"from one picture in {label['one-to-one']:.1f} % on average."
    )


def _earlier(folder: Path) -> bool:
    """Whether the folder holds an earlier demo; refuses one that holds anything else."""
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} - {LOCK}:
        return False
    if not (folder / "experiment.json").exists() or experiment(folder)["data"].get("command") != "demo":
        names = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
        held = "another run" if holds_run(folder) else ", ".join(names[:3])
        raise ValueError(f"{folder} must be empty or hold an earlier demo; it holds {held}; choose another folder")
    checkpoint.sweep(folder)
    checkpoint.refuse_foreign(folder, [*FILES, LOCK])
    for name in MADE:
        if foreign := output_folder.foreign(folder / name):
            raise ValueError(
                f"{folder} must hold nothing but a demo and what was made from it, for it is replaced; it holds "
                f"{name}/{foreign[0]}; choose another folder"
            )
    return True


def _clear(folder: Path) -> None:
    """Empties the folder of a demo, and last of what says that it is one."""
    every = [path for path in folder.iterdir() if path.name != LOCK]
    for path in sorted(every, key=lambda path: path.name == "experiment.json"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
