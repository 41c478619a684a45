"""Standard deviations of predicted numbers from the errors on validation rows."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.inference.calibration import compute_missing_shares
from polymodal.models.base import Model
from polymodal.models.ensemble import Ensemble

__all__ = ["compute_spreads", "has_calibrated_spread"]


def has_calibrated_spread(model: Model, name: str) -> bool:
    """Returns whether a number's standard deviation is that of the errors on validation rows.

    It is for calibrated models with one code per row, and for ensembles of them: their samples, if any, differ far less
    than their predictions from the true numbers.
    """
    single = model.deterministic or (isinstance(model, Ensemble) and model.has_deterministic_members)
    return single and name in (model.calibration or {})


def compute_spreads(model: Model, name: str, values: Tensor, given: Tensor) -> list[list[float]]:
    """Returns standard deviations of predictions in users' units, one number in a list for each of n rows.

    For logarithms it is half the distance of the numbers one standard deviation above and below the prediction.

    Arguments:
        model: Calibrated model, see `has_calibrated_spread`.
        name: Name of a modality of a single number.
        values: Predictions in a table's units, `(n, 1)`.
        given: Modalities that the rows are conditioned on, `(n, M)` bool.
    """
    scores, modality = (model.calibration or {})[name], model.schema[name]
    others = given & ~model.schema.mask([name])
    expected = scores.compute_expected_errors(compute_missing_shares(others).numpy())
    error = torch.from_numpy(scores.deviation * expected).to(values)[:, None]
    return ((modality.write(values + error) - modality.write(values - error)) / 2).tolist()
