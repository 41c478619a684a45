"""The folder of a run: model, history, scores and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from polymodal import checkpoint
from polymodal.datasets import load as load_data
from polymodal.evaluation import evaluate
from polymodal.models import load as load_model
from polymodal.report import write

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.table import Table

__all__ = ["report", "write_report"]


def report(folder: Path) -> Path:
    """Writes a run's report anew, from its files and the test split of its data set.

    Returns:
        The report's path.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: Its data set is not one that can be loaded by name.
    """
    experiment = checkpoint.read_json(folder / "experiment.json")
    source = experiment.get("data", {})
    if "dataset" not in source:
        raise ValueError(
            f"{folder} must be a run on a data set that `polymodal datasets` lists; this one was on a table of one's "
            "own; use polymodal.report.write(path, model, table) for that"
        )
    table = load_data(source["dataset"], **source.get("arguments", {})).test
    model = load_model(folder / "model")
    if not (folder / "scores.csv").exists():
        scores = evaluate(model, table, progress=True)
        checkpoint.write_text(folder / "scores.csv", scores.to_csv(index=False))
    return write_report(folder, model, table)


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
