"""Printed descriptions of a training run: its estimated time before it begins, and its result at its end."""

from __future__ import annotations

import shlex
import time
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polymodal import training
from polymodal.runtime.progress import format_duration
from polymodal.runtime.seeding import seed_streams
from polymodal.table.table import steps

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.datasets import Dataset
    from polymodal.models import Model
    from polymodal.settings import Settings
    from polymodal.training import Fit

__all__ = ["describe_training", "estimate_training_seconds", "summarise_training"]

MOST_TRIED = 2.0
"""Maximum total seconds of the steps that estimate the training time."""


def estimate_training_seconds(settings: Settings, data: Dataset, model: Model) -> float:
    """Estimates the time of all epochs in seconds, from a few steps of a copy of the model."""
    fit = settings.fit
    seconds = _step_seconds(model, data.train[: fit["batch_size"]], training.select_device(fit["device"]))
    return seconds * fit["epochs"] * _steps(settings, data)


def describe_training(settings: Settings, data: Dataset, model: Model, seconds: float) -> str:
    """Returns a line that describes the training run, with its estimated time in seconds."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    where = training.select_device(settings.fit["device"])
    epochs, patience = settings.fit["epochs"], settings.fit["patience"]
    early = f" at most; training stops after {patience} epochs without improvement" if patience else ""
    name = _get_dataset_name(settings, data)
    members = f"{model.member_count} members, " if model.member_count > 1 else ""
    return (
        f"Training {model.name} ({members}{weights:,} parameters) on {len(data.train):,} rows of {name}, on {where}: "
        f"about {format_duration(seconds)} for {epochs} epoch{'s' * (epochs > 1)}{early}."
    )


def _get_dataset_name(settings: Settings, data: Dataset) -> str:
    """Returns the name of the data set, or the name of the table's file."""
    return Path(settings.data["path"]).name if settings.dataset == "table" else data.name


def _steps(settings: Settings, data: Dataset) -> int:
    """Returns the number of steps per epoch, where a validation step counts as a third of a training step."""
    train, validation = (steps(len(table), settings.fit["batch_size"]) for table in (data.train, data.validation))
    return train + -(-validation // 3)


def _step_seconds(model: Model, batch: Batch, device: torch.device) -> float:
    """Estimates the seconds of a training step with a copy of the model."""
    with seed_streams(0, device):
        copy, batch = deepcopy(model).to(device).train(), batch.to(device)
        adam = torch.optim.Adam(copy.parameters())
        taken = []
        while len(taken) < 2 or (len(taken) < 12 and sum(taken) < MOST_TRIED):
            began = time.perf_counter()
            copy.loss(batch).total.backward()
            adam.step()
            adam.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - began)
    return min(taken)


def summarise_training(fitted: Fit, settings: Settings) -> str:
    """Returns a summary of a finished training run and the next commands to type.

    A run without test rows is for imputation, so the first of the commands imputes its table.
    """
    history = fitted.history.set_index("epoch")
    folder = shlex.quote(str(fitted.folder))
    loss = history["validation/total"].get(fitted.best_epoch, float("nan"))
    commands = [f"polymodal evaluate {folder}", f"polymodal report {folder}"]
    if settings.dataset == "table" and settings.data.get("test") == 0:
        commands = [f"polymodal impute {folder} {shlex.quote(settings.data['path'])}", *commands]
    return (
        f"Best epoch {fitted.best_epoch} of {history.index[-1]}, validation loss {loss:.4g}. Run: {fitted.folder}\n"
        "Next: " + "\n      ".join(commands)
    )
