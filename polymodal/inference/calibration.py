"""Calibration of a model's intervals by split conformal prediction on validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.inference.passes import decode_values, encode
from polymodal.modalities import Vector
from polymodal.models.base import Model, answering, check_model
from polymodal.models.conformal import ConformalScores
from polymodal.runtime.validation import check_number
from polymodal.tabular.outliers import clamp

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["calibrate", "check_interval", "compute_missing_shares", "has_interval", "list_interval_messages"]

MOST_ROWS, MOST_PREDICTIONS, LEAST_ROWS = 10_000, 100_000, 1_000
"""Limits of a calibration: rows, predictions of all columns together, and rows that are read despite the latter."""
MOST_MASKS, MOST_ERRORS = 12, 2_000
"""Limits of further masks per row, and of errors per column under them; at least one mask per row is used."""
BATCH_SIZE = 500
Errors = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Arguments of `ConformalScores.from_errors`."""


def compute_missing_shares(given: Tensor) -> Tensor:
    """Returns the share of the other modalities that is missing, `(*)` float64, for masks `(*, M)` bool.

    The masks are those of predictions of one modality, which none of them contains.
    """
    return 1 - given.sum(-1).double() / max(given.shape[-1] - 1, 1)


def has_interval(model: Model, name: str) -> bool:
    """Returns whether a modality has intervals when the model is calibrated: it is a `Vector` of a single number."""
    modality = model.schema[name]
    return isinstance(modality, Vector) and modality.size == 1


def calibrate(model: Model, validation: Table) -> None:
    """Calibrates the intervals of `polymodal.impute(..., interval=0.9)`.

    `fit` does this at its end. Call it for a model that an earlier version of polymodal trained, or with other rows
    that the model was not trained on; `Model.save` then stores the result with the model. Each column of single numbers
    is predicted from the other observed columns of each row, and the errors are kept as scores. At most 10,000 rows
    are used, and fewer if there are many columns.

    Arguments:
        model: Trained model. Its attribute `calibration` is replaced.
        validation: Rows that the model was not trained on, with missing values like those of the rows to impute.

    Example:
        >>> import pandas as pd
        >>> from polymodal.models import build
        >>> from polymodal.table.table import Table
        >>> table = Table.from_frame(pd.DataFrame({"kind": ["owl", "emu"] * 9, "grams": [180.5, 36.25] * 9}), say=None)
        >>> model = build("mac-wae", table.schema, latent_dim=4)
        >>> calibrate(model, table)
        >>> model.calibration["grams"].rows
        18
    """
    check_model(model)
    names = [name for name in model.schema if has_interval(model, name)]
    model.calibration = None
    if not names:
        return
    most = min(MOST_ROWS, max(LEAST_ROWS, MOST_PREDICTIONS // len(names)))
    errors: dict[str, list[Errors]] = {name: [] for name in names}
    generator, read = torch.Generator().manual_seed(0), 0
    with answering(model):
        for batch in validation.batches(min(BATCH_SIZE, most)):
            for name, found in _compute_errors(model, batch, names, min(len(validation), most), generator).items():
                errors[name].append(found)
            read += len(batch)
            if read >= most:
                break
    joined = {name: _join(parts) for name, parts in errors.items()}
    model.calibration = {name: ConformalScores.from_errors(*parts) for name, parts in joined.items() if len(parts[0])}


def check_interval(model: Model, interval: float, given: Sequence[str] | None) -> None:
    """Checks that a model has intervals for imputed numbers.

    Raises:
        TypeError: The interval is not a number.
        ValueError: The interval is not between 0 and 1, `given` is not None, or the model is not calibrated.
    """
    check_number("interval", interval, 0, 1)
    if not 0 < interval < 1:
        raise ValueError(f"interval must be between 0 and 1; got {interval}; write 0.9 for intervals of 90 %")
    if given is not None:
        raise ValueError(
            "interval is calibrated for predictions from all observed modalities, and given was also passed; leave out "
            "one of them"
        )
    if model.calibration is None and any(has_interval(model, name) for name in model.schema):
        raise ValueError(
            "interval needs a calibrated model, and this one is not; call "
            "polymodal.inference.calibration.calibrate(model, validation) and save it, or resume its training with "
            "polymodal train --resume, which calibrates it at its end"
        )


def list_interval_messages(model: Model, names: Iterable[str], interval: float) -> list[str]:
    """Returns messages about modalities that have too few validation rows for the level of an interval."""
    calibration, messages = model.calibration or {}, []
    for name in names:
        if not has_interval(model, name):
            continue
        scores = calibration.get(name)
        if scores is None:
            messages.append(f"{name!r} has no intervals, because no validation row has it with another modality")
        elif not scores.has_enough_rows(interval):
            messages.append(
                f"the intervals of {name!r} are too narrow for {interval:g}, because that needs "
                f"{ceil(round(interval / (1 - interval), 9))} validation rows, and {scores.rows} have it"
            )
    return messages


def _compute_errors(
    model: Model, batch: Batch, names: list[str], rows: int, generator: torch.Generator
) -> dict[str, Errors]:
    """Computes errors of predicted numbers, each from other observed modalities of its row.

    Arguments:
        model: Model that predicts.
        batch: Batch of B rows.
        names: Names of the S modalities to predict.
        rows: Number of rows that are used in all batches.
        generator: Generator of further masks.

    Returns:
        By name, the arguments of `ConformalScores.from_errors` for the rows with the number.
    """
    columns = [model.schema.index(name) for name in names]
    others = torch.ones(len(names), 1, len(model.schema), dtype=torch.bool)
    others[range(len(names)), :, columns] = False
    values = {name: clamp(model.schema[name], value) for name, value in batch.values.items()}
    batch = Batch(values, batch.observed).to(model.weight.device)
    own = others & batch.observed.cpu()
    found = [_predict_under_masks(model, batch, names, own)]
    for _ in range(max(1, min(MOST_MASKS, MOST_ERRORS // rows))):
        shares = torch.rand(1, len(batch), 1, generator=generator)
        kept = torch.rand(own.shape, generator=generator) >= shares
        found.append(_predict_under_masks(model, batch, names, own & kept))
    further = {name: _join([one[name] for one in found[1:]]) for name in names}
    return {name: (*found[0][name], further[name][0], further[name][1]) for name in names}


def _predict_under_masks(
    model: Model, batch: Batch, names: list[str], masks: Tensor
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the errors `(n,)` of S modalities under masks `(S, B, M)` bool, and the shares of missing modalities.

    The n rows have the modality and any other modality under the mask.
    """
    z, enough = encode(model, batch, masks)
    shares = compute_missing_shares(masks)
    errors = {}
    for place, name in enumerate(names):
        rows = (enough[place] & batch.observed[:, model.schema.index(name)]).nonzero()[:, 0]
        which = torch.arange(len(rows), device=rows.device)[None]
        predicted = decode_values(model, name, z[place, rows], which, "cpu")[0]
        difference = predicted.double() - batch.values[name][rows].cpu().double()
        errors[name] = difference.flatten().numpy(), shares[place, rows.cpu()].numpy()
    return errors


def _join(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Concatenates the first arrays of all parts, the second arrays, and so on."""
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
