"""From settings to a run: checked, made, written beside the result, trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from polymodal import checkpoint, training
from polymodal.datasets import load as load_data
from polymodal.interfaces.documents import assignments, dump, read
from polymodal.interfaces.runs import chosen_device
from polymodal.interfaces.settings import Settings, resolve, schema_settings
from polymodal.models import build

if TYPE_CHECKING:
    from polymodal.datasets import Dataset
    from polymodal.models import Model
    from polymodal.training import Fit

__all__ = ["SETTINGS", "announced", "check", "concluded", "make", "resumed", "run", "settle", "text"]

SETTINGS = "settings.yaml"
"""The file in a run's folder."""
LATER = {"device", "epochs"}
"""Settings that may change when a run goes on."""


def settle(given: Mapping[str, Any], assigned: Sequence[str], config: Path | None, resume: Path | None) -> Settings:
    """The effective settings of a command.

    Arguments:
        given: Settings that have an option of their own, by name.
        assigned: Others, as "name=value".
        config: A YAML file of settings.
        resume: The folder of a run to go on with.

    Raises:
        FileNotFoundError: There is no such file or run.
        ValueError: A setting is wrong, comes twice, or would make another run of the one that is to go on.
    """
    line = assignments(assigned)
    if twice := sorted({*given} & {*line}):
        raise ValueError(f"a setting must be given once; got {twice[0]} as an option and by --set; leave one out")
    line |= given
    if resume is None:
        return resolve({} if config is None else read(config), line)
    if other := sorted({*line} - LATER) + ["config"] * (config is not None):
        raise ValueError(
            f"--resume goes with {' and '.join(f'--{name}' for name in sorted(LATER))} alone, for all else would make "
            f"another run; got {', '.join(other)}; leave it out, or train anew in another --folder"
        )
    return resumed(resume, line)


def check(settings: Settings, *, new: bool = True) -> None:
    """Refuses what cannot be trained, as far as it shows without data.

    Arguments:
        settings: To check.
        new: Whether the folder must not hold a run.

    Raises:
        ValueError: A value is out of its range, the device is not at hand, or the folder holds a run.
    """
    training.check_settings(**settings.fit)
    folder = Path(settings.folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file; choose another --folder")
    if new and any((folder / name).exists() for name in ("experiment.json", "state", "model")):
        raise ValueError(
            f"{folder} must not hold a run, and does; choose another --folder, go on with it by "
            f"`polymodal train --resume {shlex.quote(str(folder))}`, or remove it"
        )


def make(settings: Settings) -> tuple[Dataset, Model]:
    """The data and the model that the settings describe.

    Raises:
        ValueError: An argument is out of its range, or would change what the values are.
    """
    data = load_data(settings.dataset, **settings.data)
    schema = data.schema.replace(**settings.schema)
    try:
        model = build(settings.model, schema, **settings.build)
    except RuntimeError as error:  # torch's own, for a size that no layer can have
        raise ValueError(f"{settings.model} must be of sizes that layers can have: {error}") from error
    model.schema.require(data.train.schema, "train")
    return data, model


def run(settings: Settings, data: Dataset, model: Model, *, resume: bool = False) -> Fit:
    """Trains a model in the settings' folder, and writes the settings there.

    Raises:
        ValueError: The run in the folder cannot go on with these settings; the file is then as it was.
    """
    path = Path(settings.folder) / SETTINGS
    before = path.read_text(encoding="utf-8") if resume else None
    checkpoint.write_text(path, text(settings))
    try:
        return training.fit(model, data.train, data.validation, folder=settings.folder, resume=resume, **settings.fit)
    except ValueError:
        if before is not None:
            checkpoint.write_text(path, before)
        raise


def resumed(folder: Path, changes: Mapping[str, Any]) -> Settings:
    """The settings of a run that is to go on.

    Arguments:
        folder: Of the run.
        changes: Settings that are to be others from now on.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The run was not made by the command line, or has come further than it is to go.
    """
    if (folder / SETTINGS).exists():
        settings = replace(resolve(read(folder / SETTINGS), changes), folder=str(folder))
        if "epochs" in changes and changes["epochs"] < (done := _epochs_done(folder)):
            raise ValueError(f"--epochs must be at least those that are done, {done}; got {changes['epochs']}")
        return settings
    if (folder / "experiment.json").exists():
        raise ValueError(
            f"{folder} must hold {SETTINGS}, which `polymodal train` writes; this run was made from Python; "
            f"go on with it there, with its model and data: fit(..., folder={str(folder)!r}, resume=True)"
        )
    raise FileNotFoundError(f"{folder} must be the folder of a run, with {SETTINGS}; there is none")


def _epochs_done(folder: Path) -> int:
    history = folder / "history.csv"
    return len(history.read_text(encoding="utf-8").splitlines()) - 1 if history.exists() else 0


def text(settings: Settings) -> str:
    """What is written beside the result."""
    again = f"polymodal train --config {shlex.quote(f'{settings.folder}/{SETTINGS}')} --folder runs/again"
    comments = [
        f"All settings of a run of polymodal {version('polymodal')}. To run it again:",
        f"  {again}",
        "Under schema can stand what any of the modalities can be told:",
        *(f"  {line}" for line in wrap(", ".join(schema_settings()), 90)),
    ]
    return dump(asdict(settings), comments)


def announced(settings: Settings, data: Dataset, model: Model) -> str:
    """What is going to be trained, in one line."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    where = chosen_device(settings.fit["device"])
    return f"Training {model.name} ({weights:,} weights) on {len(data.train):,} rows of {data.name}, on {where}."


def concluded(fitted: Fit) -> str:
    """What came out, and what to type next."""
    history = fitted.history.set_index("epoch")
    folder = shlex.quote(str(fitted.folder))
    loss = history["validation/total"].get(fitted.best_epoch, float("nan"))
    return (
        f"Best epoch {fitted.best_epoch} of {history.index[-1]}, validation loss {loss:.4g}. Run: {fitted.folder}\n"
        f"Next: polymodal evaluate {folder}\n      polymodal report {folder}"
    )
