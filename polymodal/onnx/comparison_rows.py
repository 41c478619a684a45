"""Compares an export with the model in PyTorch on random rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polymodal.models import Model
from polymodal.networks import answering
from polymodal.onnx.exported_networks import Rows
from polymodal.onnx.predictor import Predictor
from polymodal.schema import Schema

__all__ = ["compare", "sample_values"]

TOLERANCE = 1e-4
"""Largest accepted difference, relative to the largest number of a result."""
MOST_DIFFERENT = 0.02
"""Largest accepted share of classes and tokens that differ, because two have almost equal probabilities."""


def sample_values(schema: Schema, rows: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Samples values of random rows, and a mask in which each row has an observed value.

    Returns:
        The mask `(B, M)` bool, and values by name, `(B, *shape)`: numbers in [0, 1], and classes.
    """
    random = torch.Generator().manual_seed(seed)
    values: dict[str, Tensor] = {}
    for name, one in schema.items():
        size = (rows, *one.shape)
        if one.levels is None:
            values[name] = torch.rand(size, generator=random)
        else:
            values[name] = torch.randint(one.levels, size, generator=random)
    observed = torch.rand(rows, len(schema), generator=random) < 0.6
    observed[torch.arange(rows), torch.randint(len(schema), (rows,), generator=random)] = True
    return observed, values


def compare(model: Model, folder: Path) -> None:
    """Compares the codes and predictions of an export with those of PyTorch, with NaN in missing values.

    Raises:
        RuntimeError: They differ.
    """
    predictor = Predictor(folder, threads=1)
    for rows in (1, 7):
        observed, values = sample_values(model.schema, rows, seed=rows)
        with answering(model):
            code = model.encode(Rows(values, observed)).mean
            expected = {name: model.schema[name].value(q) for name, q in model.decode(code).items()}
        arrays = {name: value.numpy().copy() for name, value in values.items()}
        for m, value in enumerate(arrays.values()):
            value[~observed[:, m].numpy()] = np.nan if value.dtype.kind == "f" else 10**9
        made = predictor.translate_arrays(arrays, observed.numpy())
        _require_equal("the code", predictor.embed_arrays(arrays, observed.numpy()), code.numpy())
        for name, value in expected.items():
            _require_equal(repr(name), made[name], value.numpy())


def _require_equal(what: str, made: np.ndarray, expected: np.ndarray) -> None:
    if expected.dtype.kind == "f":
        difference = np.abs(made - expected).max() / max(1e-6, np.abs(expected).max())
        equal = difference <= TOLERANCE
    else:
        difference = np.mean(made != expected)
        equal = difference <= MOST_DIFFERENT
    if not equal:
        raise RuntimeError(
            f"the exported files must predict the same values as PyTorch; {what} differs by {difference:g}; nothing "
            "was written; please report this model"
        )
