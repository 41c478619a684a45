"""What a training run leaves in its folder."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polymodal import checkpoint

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.table import Table

__all__ = ["Records"]


class Records:
    """History and, on request, a folder: `experiment.json`, `history.csv`, `model/`.

    Arguments:
        folder: None writes nothing.
        model: Whose best epoch is kept.
        train: The training rows, whose source and fingerprint are noted.
        settings: The arguments of `fit`.

    Raises:
        ValueError: The folder holds a run already.
    """

    def __init__(self, folder: str | Path | None, model: Model, train: Table, settings: dict[str, Any]) -> None:
        self.rows: list[dict[str, float]] = []
        self.model = model
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        if (self.folder / "experiment.json").exists():
            raise ValueError(f"{folder} must not hold a run, and does; choose another folder, or remove that one")
        self.experiment = {
            "model": {"name": model.name, "seed": model.seed, "arguments": model.arguments},
            "fit": settings,
            "data": {**getattr(train, "source", {}), "rows": len(train), "fingerprint": _fingerprint(train)},
            "versions": {
                "polymodal": _version(),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

    def add(self, row: dict[str, float], *, best: bool) -> None:
        """Notes an epoch, and keeps the model if it is the best one yet."""
        import pandas as pd

        self.rows.append(row)
        if self.folder is not None:
            checkpoint.write_text(self.folder / "experiment.json", checkpoint.to_json(self.experiment))
            checkpoint.write_text(self.folder / "history.csv", pd.DataFrame(self.rows).to_csv(index=False))
            if best:
                self.model.save(self.folder / "model")


def _fingerprint(train: Table) -> str | None:
    """None for rows that are not a table's and have no fingerprint."""
    return train.fingerprint() if hasattr(train, "fingerprint") else None


def _version() -> str:
    from importlib.metadata import version

    return version("polymodal")
