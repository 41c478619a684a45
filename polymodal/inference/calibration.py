"""Calibration of a model's intervals by split conformal prediction on validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.inference.passes import emit_each, encode
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
MOST_NUMBERS = 2**24
"""Limit of the numbers in the codes of all masks that are predicted at once; at least one mask per row is."""
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
    every = [own]
    for _ in range(max(1, min(MOST_MASKS, MOST_ERRORS // rows))):
        shares = torch.rand(1, len(batch), 1, generator=generator)
        every.append(own & (torch.rand(own.shape, generator=generator) >= shares))
    at_once = max(1, MOST_NUMBERS // (own[..., 0].numel() * model.code_dim))
    parts = [_predict_under_masks(model, batch, names, masks) for masks in torch.stack(every).split(at_once)]
    found = {name: [pair for part in parts for pair in part[name]] for name in names}
    joined = {name: (pairs[0], _join(pairs[1:])) for name, pairs in found.items()}
    return {name: (first[0], first[1], further[0], further[1]) for name, (first, further) in joined.items()}


def _predict_under_masks(
    model: Model, batch: Batch, names: list[str], masks: Tensor
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Returns K pairs of errors `(n,)` and shares of missing modalities `(n,)` by name, for S modalities.

    They are those under K sets of masks, `(K, S, B, M)` bool. The n rows have the modality, and any other modality
    under the mask.
    """
    z, enough = (part.unflatten(0, masks.shape[:2]) for part in encode(model, batch, masks.flatten(0, 1)))
    shares = compute_missing_shares(masks)
    some = {name: enough[:, place] & batch.observed[:, model.schema.index(name)] for place, name in enumerate(names)}
    outputs = emit_each(model, {name: z[:, place][some[name]] for place, name in enumerate(names)})
    errors = {}
    for place, name in enumerate(names):
        chosen, values = some[name], batch.values[name]
        difference = values.new_empty(0).cpu().double()
        if name in outputs:
            predicted = model.schema[name].value(model.make_distribution(name, outputs[name]))
            difference = (predicted.double() - values.expand(len(z), *values.shape)[chosen].double()).flatten().cpu()
        counts = chosen.sum(1).tolist()
        parts = difference.split(counts), shares[:, place][chosen.cpu()].split(counts)
        errors[name] = [(one.numpy(), other.numpy()) for one, other in zip(*parts, strict=True)]
    return errors


def _join(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Concatenates the first arrays of all parts, the second arrays, and so on."""
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
