"""Training and scoring of one run of a study, and the record of the run in its folder."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polymodal import datasets, evaluation, models
from polymodal.evaluation import Classifiers, evaluate, train_classifiers
from polymodal.evaluation.score_file import write_scores
from polymodal.io import checkpoint
from polymodal.io.locks import claim_folder
from polymodal.runtime import hardware
from polymodal.runtime.formatting import brief
from polymodal.settings import Settings, network
from polymodal.studies.identity import ELSEWHERE, digest
from polymodal.training import fit, select_device

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.datasets import Dataset
    from polymodal.evaluation.frechet import Features
    from polymodal.models import Model
    from polymodal.studies.grid import Cell

__all__ = [
    "RUN",
    "SCORES",
    "is_finished",
    "is_scored",
    "load_classifiers",
    "load_rows",
    "note_failure",
    "read_record",
    "run",
    "write_code_map",
]

RECORD, SCORES, MAP, FAILED = "experiment.json", "scores.csv", "map.csv", "failed.txt"
RUN = "run"
"""Key of the record that is written after training and updated after scoring."""


def is_finished(folder: Path, tasks: Collection[str], inception: str | None = None) -> bool:
    """Returns whether a run is trained and scored on all of these tasks; no weights are needed."""
    return is_scored(read_training_record(folder), tasks, inception) and (not tasks or (folder / SCORES).exists())


def is_scored(noted: Mapping[str, Any], tasks: Collection[str], inception: str | None = None) -> bool:
    """Returns whether a run is trained and scored on all of these tasks, from its training and scoring entries."""
    scored = {*tasks} <= {*noted.get("tasks", [])}
    return "seconds" in noted and scored and (inception is None or noted.get("fid") is True)


def load_rows(settings: Settings) -> Dataset:
    """Returns the data set of a run; the most recent data set is cached in memory."""
    return _load_cached_dataset(settings.dataset, json.dumps(settings.data, sort_keys=True))


@lru_cache(maxsize=1)
def _load_cached_dataset(dataset: str, arguments: str) -> Dataset:
    return datasets.load(dataset, **json.loads(arguments))


@lru_cache(maxsize=1)
def _load_features(inception: str, device: torch.device) -> Features:
    return evaluation.load_inception(inception, device)


def read_training_record(folder: Path) -> dict[str, Any]:
    """Returns the training and scoring entries of a run's record; empty before training has finished."""
    noted = read_record(folder).get(RUN, {})
    return noted if isinstance(noted, dict) else {}


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the record of a run; empty if the run has no record yet."""
    return checkpoint.read_json(folder / RECORD) if (folder / RECORD).exists() else {}


def run(cell: Cell, folder: Path, tasks: Sequence[str], inception: str | None = None) -> None:
    """Trains and scores a run, as far as it is not finished.

    Arguments:
        cell: The run.
        folder: Run folder.
        tasks: Tasks to score on the test rows.
        inception: File of Inception weights, see `Study`.

    Raises:
        Stopped: Training was interrupted by Ctrl-C; the next call resumes it.
        ValueError: Another process is running this run.
        Exception: Any other error in training or scoring.
    """
    if is_finished(folder, tasks, inception):
        return
    with claim_folder(folder, "trains and scores it"):
        _run(cell, folder, tasks, inception)


def _run(cell: Cell, folder: Path, tasks: Sequence[str], inception: str | None) -> None:
    data = load_rows(cell.settings)
    if "seconds" in read_training_record(folder) and (folder / "model").exists():
        model = models.load(folder / "model").to(select_device(cell.settings.fit["device"]))
    else:
        model = _train(cell, folder, data)
    if "validation" not in read_training_record(folder):  # scores that may be used to choose a setting
        _note(folder, validation=_scores_to_dict(evaluate(model, data.validation, tasks=["many-to-one"])))
    _score(cell, folder, data, model, tasks, inception)
    (folder / FAILED).unlink(missing_ok=True)
    shutil.rmtree(folder / "state", ignore_errors=True)  # a finished run is never resumed


def write_code_map(cell: Cell, folder: Path) -> Path | None:
    """Writes the map of a run's codes if it is missing, and returns its path; None if the model is missing too."""
    path = folder / MAP
    if not path.exists() and (folder / "model").exists():
        table = load_rows(cell.settings).test
        made = evaluation.code_map(models.load(folder / "model"), table)
        if (label := next(iter(evaluation.list_label_modalities(table.schema)), None)) is not None:
            shown = table.schema[label].show
            made["label"] = [str(shown(torch.tensor(number))) if number >= 0 else "" for number in made["label"]]
        checkpoint.write_text(path, made.to_csv(index=False, float_format="%.4f"))
    return path if path.exists() else None


def note_failure(folder: Path, error: BaseException) -> str:
    """Writes the reason of a failure and its traceback to the run folder.

    Returns:
        The reason in one line.
    """
    reason = (
        brief(error) if isinstance(error, ValueError | TypeError | OSError | FloatingPointError) else brief(repr(error))
    )
    checkpoint.write_text(folder / FAILED, f"{reason}\n\n{''.join(traceback.format_exception(error))}")
    return reason


def _train(cell: Cell, folder: Path, data: Dataset) -> Model:
    model = network(cell.settings, data)
    for name in (SCORES, MAP):  # files of an earlier training
        (folder / name).unlink(missing_ok=True)
    before, device = hardware.reset_peak_memory(), select_device(cell.settings.fit["device"])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    fitted = fit(model, data.train, data.validation, folder=folder, resume=True, progress=False, **cell.settings.fit)
    peak = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else max(hardware.measure_peak_memory(), before)
    )
    history = fitted.history.set_index("epoch")
    prior = {} if fitted.prior_history.empty else {"prior_seconds": float(fitted.prior_history["seconds"].iloc[-1])}
    _note(
        folder,
        settings=_select_extra_settings(cell.settings),
        seconds=float(history["seconds"].sum()) + prior.get("prior_seconds", 0.0),
        **prior,
        memory=peak / 2**20,
        epochs=int(history.index[-1]),
        best_epoch=int(fitted.best_epoch),
        validation_loss=float(history["validation/total"].get(fitted.best_epoch, float("nan"))),
        weights=sum(parameter.numel() for parameter in model.parameters()),
        hardware=hardware.describe_device(device),
    )
    return model


def _score(cell: Cell, folder: Path, data: Dataset, model: Model, tasks: Sequence[str], inception: str | None) -> None:
    """Scores a run on the missing tasks; keeps existing scores, which may come from another study."""
    noted = read_training_record(folder)
    have = {*noted.get("tasks", [])} if (folder / SCORES).exists() else set()
    if inception is not None and not noted.get("fid"):
        have -= {"generation"}
    left = sorted({*tasks} - have)
    if not left:
        return
    classified = not {*left}.isdisjoint(("coherence", "generation", "sampling"))
    ready = load_classifiers(folder.parent, cell.settings, data) if classified else None
    features = None if inception is None else _load_features(inception, model.weight.device)
    made = evaluate(model, data.test, tasks=left, train=data.train, classifiers=ready, features=features)
    write_scores(folder / SCORES, made, left)
    _note(folder, tasks=sorted({*left, *have}), fid=bool(noted.get("fid")) or features is not None)


def load_classifiers(runs: Path, settings: Settings, data: Dataset) -> Classifiers:
    """Returns the classifiers of a data set, shared by all of its runs; the first run that needs them trains them."""
    values = {name: value for name, value in settings.data.items() if name not in ELSEWHERE["data"]}
    folder = runs.parent / "verifiers" / f"{settings.dataset}-{digest(values)}"
    if (folder / "verifiers.json").exists():
        return Classifiers.load(folder)
    made = train_classifiers(data.train)
    made.save(folder)
    return made


def _note(folder: Path, **facts: Any) -> None:
    """Adds entries to the `run` part of a run's record."""
    noted = read_record(folder)
    noted[RUN] = {**noted.get(RUN, {}), **facts}
    checkpoint.write_text(folder / RECORD, checkpoint.to_json(noted))


def _select_extra_settings(settings: Settings) -> dict[str, Any]:
    """Returns the settings that `fit` does not record: the data set and the arguments of its schema."""
    return {"dataset": settings.dataset, "schema": dict(settings.schema)}


def _scores_to_dict(scores: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        f"{row['modality']}/{row['metric']}": {"value": row["value"], "better": row["better"]}
        for row in scores.to_dict("records")
        if isfinite(row["value"])  # NaN if there were no rows to score
    }
