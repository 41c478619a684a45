"""Prediction of the missing cells of a batch, with the certainty of each predicted class and number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.inference.calibration import compute_missing_shares, has_interval
from polymodal.inference.imputed_cells import ImputedCells
from polymodal.inference.passes import decode_each
from polymodal.models.base import Model, answering
from polymodal.models.ensemble import Ensemble
from polymodal.models.flow_codes import sample_rows
from polymodal.runtime.seeding import derive_seed

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from polymodal.batch import Batch
    from polymodal.modalities.base import Bounds

__all__ = ["has_certainty", "predict_cells"]

STD_SAMPLES = 20
"""Number of posterior samples for the standard deviation of a predicted number."""


def has_certainty(model: Model, name: str) -> bool:
    """Returns whether the certainty of a modality's predictions is available.

    It always is for classes. For numbers it comes from posterior samples or from the members of an ensemble; of a
    deterministic model, which has neither, it comes from its calibration.
    """
    modality = model.schema[name]
    if modality.levels is not None:
        return not modality.shape
    return has_interval(model, name) and (not model.deterministic or name in (model.calibration or {}))


def predict_cells(
    model: Model,
    batch: Batch,
    given: Tensor,
    masks: dict[str, np.ndarray],
    rows: Sequence[int],
    imputations: Sequence[int | None],
    *,
    seed: int,
    bounds: Bounds,
    interval: float | None = None,
) -> list[dict[str, ImputedCells]]:
    """Predicts each modality and its certainty in the rows in which it is missing, once per imputation.

    The rows are encoded once for all imputations.

    Arguments:
        model: Model that predicts.
        batch: Batch of B rows.
        given: Conditioning masks of the rows, `(B, M)` bool.
        masks: Masks of the rows in which a modality is missing, `(B,)` bool each, by name of the modality.
        rows: Numbers of the rows, on which their posterior samples depend.
        imputations: Numbers of the posterior samples; None for the posterior mean.
        seed: Random seed of the posterior samples.
        bounds: Range of predicted numbers, as in `impute`.
        interval: Probability that an interval contains the number, as in `impute`; None for no intervals.

    Returns:
        For each imputation, the predictions by name of the modality. Their rows are positions in the batch, and their
        cells are one list per column of the modality.
    """
    with answering(model):
        posterior = model.encode(batch.to(model.weight.device), given.to(model.weight.device))
        used = (
            masks if None in imputations else {name: mask for name, mask in masks.items() if _has_scores(model, name)}
        )
        mean, values = _predict(model, used, posterior.mean, bounds)
        shares = compute_missing_shares(given).cpu().numpy()
        centers = {name: _Center(value, shares[masks[name]]) for name, value in values.items()}
        sure = {name: {"sure": std} for name, std in _compute_stds(model, posterior, centers, masks, seed).items()}
        ends = {} if interval is None else _compute_intervals(model, centers, interval, bounds)
        predictions = []
        for imputation in imputations:
            if imputation is None:
                predicted = mean
            else:
                predicted, _ = _predict(
                    model, masks, _sample_imputation(model, posterior, imputation, seed, rows), bounds
                )
            predictions.append(
                {name: cells._replace(**sure.get(name, {}), **ends.get(name, {})) for name, cells in predicted.items()}
            )
        return predictions


class _Center(NamedTuple):
    """Predictions of a number from the posterior means of n rows, around which intervals lie."""

    values: Tensor
    """Predictions in a table's units, `(n, 1)`, on the CPU."""
    shares: np.ndarray
    """Shares of the other modalities that are missing in the rows, `(n,)`."""


def _has_scores(model: Model, name: str) -> bool:
    """Returns whether a modality is a number with scores of its errors on validation rows."""
    return name in (model.calibration or {})


def _sample_imputation(
    model: Model, posterior: Distribution, imputation: int, seed: int, rows: Sequence[int]
) -> Tensor:
    """Returns the posterior samples of an imputation, `(B, code_dim)`; an ensemble takes its members in turn."""
    if model.member_count == 1:
        return sample_rows(posterior, [1], seed=derive_seed(seed, imputation), rows=rows)[0]
    return sample_rows(posterior, [imputation + 1], seed=seed, rows=rows)[imputation]


def _count_std_samples(model: Model) -> int:
    """Returns the number of posterior samples for a standard deviation: equally many from each member."""
    if isinstance(model, Ensemble) and model.has_deterministic_members:
        return model.member_count
    return -(-STD_SAMPLES // model.member_count) * model.member_count


def _compute_stds(
    model: Model, posterior: Distribution, centers: dict[str, _Center], masks: dict[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Returns the standard deviations of predicted numbers in their original units, `(n,)` by name.

    They are those over posterior samples. For a deterministic model, or an ensemble of such models, they are those of
    its errors on validation rows; for logarithms, whose scale depends on the prediction, half the distance of the
    numbers that are one standard deviation above and below the prediction. An ensemble that is not calibrated has those
    over its members.
    """
    names = [name for name in masks if model.schema[name].levels is None and has_certainty(model, name)]
    single_codes = isinstance(model, Ensemble) and model.has_deterministic_members
    if names and not model.deterministic and not (single_codes and model.calibration):
        # The certainty of a row must not depend on the position of the row, so all rows share the same noise.
        z = sample_rows(posterior, [_count_std_samples(model)], seed=seed, rows=[0] * posterior.batch_shape[-1])
        return {name: _compute_std(model, name, z[:, _to_index(masks[name], z)]) for name in names}
    stds = {}
    for name in (name for name in centers if name in names):
        low, high = _compute_ends(model, name, centers[name], (model.calibration or {})[name].deviation, "none")
        stds[name] = (high - low) / 2
    return stds


def _compute_intervals(
    model: Model, centers: dict[str, _Center], interval: float, bounds: Bounds
) -> dict[str, dict[str, Any]]:
    """Returns the ends of intervals around predictions by name, as the entries `low` and `high` of `ImputedCells`."""
    ends = {}
    for name, center in centers.items():
        quantile = (model.calibration or {})[name].compute_quantile(interval)
        low, high = _compute_ends(model, name, center, quantile, bounds)
        ends[name] = {"low": low.tolist(), "high": high.tolist()}
    return ends


def _compute_ends(
    model: Model, name: str, center: _Center, factor: float, bounds: Bounds
) -> tuple[np.ndarray, np.ndarray]:
    """Returns predicted numbers minus and plus a multiple of their expected error, in their original units.

    Arguments:
        model: Calibrated model.
        name: Name of the modality, a single number.
        center: Predictions of n rows.
        factor: Number to multiply the expected error by.
        bounds: Range of the numbers, as in `impute`.

    Returns:
        Two arrays `(n,)` float64.
    """
    modality = model.schema[name]
    width = factor * (model.calibration or {})[name].compute_expected_errors(center.shares)
    distance = torch.from_numpy(width).to(center.values)[:, None]
    ends = torch.cat([center.values - distance, center.values + distance], dim=1).mT[..., None]  # (2, n, 1)
    low, high = modality.write(modality.bound(ends, bounds))[..., 0].numpy()
    return low, high


def _predict(
    model: Model, masks: dict[str, np.ndarray], codes: Tensor, bounds: Bounds
) -> tuple[dict[str, ImputedCells], dict[str, Tensor]]:
    """Predicts modalities, by name, from codes `(B, code_dim)` in the rows of masks `(B,)`.

    Returns:
        Cells, one list per column, with the certainty of classes; and calibrated numbers in a table's units, `(n, 1)`
        on the CPU, without bounds.
    """
    rows = {name: _to_index(mask, codes) for name, mask in masks.items()}
    cells: dict[str, list[list[Any]]] = {name: [[] for _ in model.schema[name].columns(name)] for name in masks}
    sure = {name: np.full(len(index), np.nan) for name, index in rows.items()}
    numbers: dict[str, list[Tensor]] = {name: [] for name in masks if _has_scores(model, name)}
    for name, chunk, distribution in decode_each(model, {name: codes[index] for name, index in rows.items()}):
        modality = model.schema[name]
        values = modality.value(distribution).cpu()
        if name in numbers:
            numbers[name].append(values)
        for column, written in zip(cells[name], modality.write_cells(modality.bound(values, bounds)), strict=True):
            column.extend(written)
        if modality.levels is not None and has_certainty(model, name):
            sure[name][chunk] = _compute_probability(distribution)
    predicted = {name: ImputedCells(rows[name].cpu().numpy(), cells[name], sure[name]) for name in masks}
    return predicted, {name: torch.cat(parts) for name, parts in numbers.items()}


def _compute_std(model: Model, name: str, z: Tensor) -> np.ndarray:
    """Returns the standard deviation of a number in its original units `(n,)`, for samples `(S, n, code_dim)`."""
    modality = model.schema[name]
    values = modality.value(model.decode(z, [name])[name]).cpu()
    return modality.write(values).std(0).squeeze(-1).numpy()


def _compute_probability(distribution: Distribution) -> np.ndarray:
    """Returns the probability of the most probable class, `(n,)`."""
    return distribution.log_prob(distribution.mode).exp().cpu().numpy()


def _to_index(mask: np.ndarray, like: Tensor) -> Tensor:
    """Returns the positions at which a mask `(N,)` is True, on the device of `like`."""
    return torch.from_numpy(np.flatnonzero(mask)).to(like.device)
