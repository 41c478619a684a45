"""The folder of a run: model, data, history, scores and report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polymodal import checkpoint
from polymodal.datasets import load as load_data
from polymodal.evaluation import TASKS
from polymodal.evaluation import evaluate as score
from polymodal.models import load as load_model
from polymodal.names import unknown
from polymodal.report import write
from polymodal.training import check_device

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = ["SPLITS", "chosen_device", "evaluate", "open_model", "open_table", "report", "write_report", "write_scores"]

SPLITS = ("test", "validation", "train")


def chosen_device(name: str) -> torch.device:
    """The device of that name; "auto" is a CUDA GPU if there is one.

    Raises:
        ValueError: It is not at hand.
    """
    check_device(name)
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def open_model(folder: Path, device: str = "auto") -> Model:
    """A run's model, on the device.

    Raises:
        FileNotFoundError: The folder holds no run.
    """
    _experiment(folder)
    where = chosen_device(device)
    return load_model(folder / "model").to(where)


def open_table(folder: Path, split: str = "test") -> Table:
    """A split of the data set that a run was on, made anew.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: There is no such split, or the data set is not one that can be loaded by name.
    """
    if split not in SPLITS:
        raise unknown(split, SPLITS, "split")
    source = _experiment(folder).get("data", {})
    if "dataset" not in source:
        raise ValueError(
            f"{folder} must be a run on a data set that `polymodal datasets` lists; this one was on a table of one's "
            "own; ask its model from Python: polymodal.load(folder + '/model'), polymodal.evaluate, "
            "polymodal.report.write"
        )
    return getattr(load_data(source["dataset"], **source.get("arguments", {})), split)


def evaluate(
    folder: Path, *, split: str = "test", tasks: Iterable[str] = TASKS, device: str = "auto", batch_size: int = 256
) -> tuple[Path, pd.DataFrame, Schema]:
    """Scores a run's model on a split, and writes the scores into its folder.

    Returns:
        The file, `scores.csv` for the test split and `scores-<split>.csv` for another, the scores, and the modalities.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: A name is unknown.
    """
    for task in tasks:
        if task not in TASKS:
            raise unknown(task, TASKS, "task")
    table, model = open_table(folder, split), open_model(folder, device)
    scores = score(model, table, tasks=tasks, batch_size=batch_size, progress=True)
    path = folder / ("scores.csv" if split == "test" else f"scores-{split}.csv")
    return write_scores(path, scores), scores, model.schema


def report(folder: Path, device: str = "auto") -> Path:
    """Writes a run's report anew, from its files and the test split of its data set.

    Returns:
        The report's path.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: Its data set is not one that can be loaded by name.
    """
    table, model = open_table(folder), open_model(folder, device)
    if not (folder / "scores.csv").exists():
        write_scores(folder / "scores.csv", score(model, table, progress=True))
    return write_report(folder, model, table)


def write_scores(path: Path, scores: pd.DataFrame) -> Path:
    """Writes what `polymodal.evaluate` returned."""
    return checkpoint.write_text(path, scores.to_csv(index=False))


def write_report(folder: Path, model: Model, table: Table) -> Path:
    """Writes `report.html` into a run's folder."""
    import pandas as pd

    return write(
        folder / "report.html",
        model,
        table,
        history=pd.read_csv(folder / "history.csv"),
        scores=pd.read_csv(folder / "scores.csv", keep_default_na=False),
        settings=checkpoint.read_json(folder / "experiment.json"),
    )


def _experiment(folder: Path) -> dict[str, Any]:
    """What a run's folder says of it."""
    if (folder / "experiment.json").exists():
        return checkpoint.read_json(folder / "experiment.json")
    expected = f"{folder} must be the folder of a run, such as `polymodal train` makes, with experiment.json"
    if (folder / "model.json").exists():
        raise FileNotFoundError(
            f"{expected}; it holds a model alone, which does not know its data; pass the folder above, or ask the "
            "model from Python: polymodal.load"
        )
    found = "it has none" if folder.is_dir() else "it is a file" if folder.exists() else "it does not exist"
    raise FileNotFoundError(f"{expected}; {found}")
