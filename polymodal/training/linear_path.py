"""Computes the linear path of a model after its last epoch: the factor model, and the shares of its predictions.

Factor models with several numbers of factors are estimated from training rows by maximum likelihood. The one that
predicts whole vectors of the validation rows best, each from the row's other vectors, is kept. Between single columns
of numbers and classes, the covariance matrix and ridge penalties take their place. Let g be the prediction
of a vector x by the decoder, and f the linear one, both from all other modalities of a row. The share of the linear
prediction minimises the squared error on the validation rows,

    a = sum (f - g) (x - g) / sum (f - g)^2, restricted to [0, 1]

where the sums are over elements and rows. So the linear prediction is used as far as it is the better one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models.base import answering
from polymodal.models.ensemble import Ensemble
from polymodal.networks.one_hot import encode_one_hot
from polymodal.objectives.covariance import decompose, fit_covariance
from polymodal.objectives.factor_analysis import fit_factor_model
from polymodal.runtime.distributed import share_errors

if TYPE_CHECKING:
    from polymodal.models import MAC, Model
    from polymodal.networks import Factors
    from polymodal.table.table import Table

__all__ = ["fit_linear_path"]

COUNTS = (4, 8, 12, 16, 24, 32)
"""Numbers of factors to try."""
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Ridge penalties to try, relative to the variance of an element."""
ROWS = 4096
"""Maximum number of rows of each table that are used."""
FEW = 30
"""Number of validation rows for which the share of classes is half of the best one."""
NUMBERS = 8_000_000
"""Maximum number of values of the training rows that are used."""


def fit_linear_path(model: Model, train: Table, validation: Table) -> bool:
    """Computes the linear path of a trained model if it has one; returns whether it has.

    Nothing is random, so the result depends only on the model's weights and on the rows.

    Arguments:
        model: Trained model; its factor model and shares are replaced.
        train: Training rows.
        validation: Validation rows.
    """
    if getattr(model, "linear", None) is None:
        return False
    with share_errors(), answering(model):
        # Members are opened here, because they take the evaluation mode of the ensemble.
        members: list[MAC] = model.open_members() if isinstance(model, Ensemble) else [model]  # pyright: ignore
        first = members[0].linear
        assert first is not None
        rows = _read(members[0], train, min(ROWS, NUMBERS // sum(first.sizes)))
        held_out = _read(members[0], validation, ROWS)
        first.share.fill_(1.0)  # otherwise factors are not computed
        if members[0].has_wide_vectors:
            _choose_factors(members[0], rows, held_out)
        else:
            _choose_ridge(members[0], rows, held_out)
        for member in members:
            assert member.linear is not None
            member.linear.load_state_dict(first.state_dict())
            member.linear.share.copy_(_compute_shares(member, held_out))
    return True


class Rows(NamedTuple):
    """Rows of a table, and their vectors."""

    batches: list[Batch]
    x: Tensor
    """Values of all vectors, `(N, P)` float64 on the CPU, 0 where they are missing."""
    observed: Tensor
    """Observed mask of the vectors, `(N, G)` bool on the CPU."""


def _read(model: MAC, table: Table, most: int) -> Rows:
    """Reads rows in a random order, until there are `most` of them."""
    batches, values, masks, count = [], [], [], 0
    columns = [model.schema.index(name) for name in model.linear_names]
    for batch in table.batches(512, seed=0, device=model.weight.device):
        x = model.schema.hide(batch, model.weight.dtype)
        values.append(torch.cat(model.read_linear_values(x), dim=1).cpu().double())
        masks.append(batch.observed[:, columns].cpu())
        batches.append(batch)
        if (count := count + len(batch)) >= most:
            break
    return Rows(batches, torch.cat(values)[:most], torch.cat(masks)[:most])


class Scaled(NamedTuple):
    """Standardised values of rows, and how to revert it."""

    x: Tensor
    """`(N, P)` float64, 0 where values are missing."""
    mask: Tensor
    """Which elements are observed, `(N, P)` of ones and zeros."""
    mean: Tensor
    scale: Tensor


def _standardise(linear: Factors, rows: Rows) -> Scaled:
    mask = rows.observed.repeat_interleave(torch.tensor(linear.sizes), dim=1).double()
    counts = mask.sum(0).clamp(min=1)
    mean = (rows.x * mask).sum(0) / counts
    centred = (rows.x - mean) * mask
    scale = (centred.square().sum(0) / counts).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    return Scaled(centred / scale, mask, mean, scale)


def _choose_factors(model: MAC, rows: Rows, held_out: Rows) -> None:
    """Estimates factor models from rows, and keeps the one that predicts vectors of held-out rows best."""
    linear = model.linear
    assert linear is not None
    scaled = _standardise(linear, rows)
    counts = [count for count in COUNTS if count <= linear.count and count < min(scaled.x.shape)]
    models = (fit_factor_model(scaled.x, rows.observed, linear.sizes, count) for count in counts)
    _keep_best(model, models, scaled, held_out)


def _choose_ridge(model: MAC, rows: Rows, held_out: Rows) -> None:
    """Estimates the covariance of all elements, and keeps the ridge penalty that predicts held-out rows best."""
    linear = model.linear
    assert linear is not None
    scaled = _standardise(linear, rows)
    covariance = fit_covariance(scaled.x, scaled.mask)
    models = (decompose(covariance, penalty, linear.count) for penalty in PENALTIES)
    _keep_best(model, models, scaled, held_out)


def _keep_best(model: MAC, models: Iterable[tuple[Tensor, Tensor]], scaled: Scaled, held_out: Rows) -> None:
    """Keeps the loadings and noise variances of standardised values that predict held-out rows best."""
    linear = model.linear
    assert linear is not None
    best, kept = float("inf"), linear.state_dict()
    for loadings, noise in models:
        linear.mean.copy_(scaled.mean)
        linear.loadings.zero_()[:, : loadings.shape[1]].copy_(loadings * scaled.scale[:, None])
        linear.noise.copy_(noise * scaled.scale.square())
        error = _measure_error(model, held_out, scaled.scale)
        if error < best:
            best, kept = error, {name: value.clone() for name, value in linear.state_dict().items()}
    linear.load_state_dict(kept)


def _measure_error(model: MAC, rows: Rows, scale: Tensor) -> float:
    """Returns the squared error of predicting each vector from the others, relative to the variances of its elements.

    It is the mean over a vector's elements and rows, summed over vectors.
    """
    linear = model.linear
    assert linear is not None
    values = [part.to(linear.mean) for part in rows.x.split(linear.sizes, dim=1)]
    units, total = scale.split(linear.sizes), 0.0
    for place in range(len(values)):
        some, others = _select_rows(rows.observed, place)
        if len(some):
            u = linear([value[some] for value in values], others.to(linear.mean.device))
            error = (linear.predict(u, place) - values[place][some]).cpu() / units[place]
            total += float(error.square().mean())
    return total


def _select_rows(observed: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Returns the rows that have a vector and another one, `(n,)`, and the mask of their other vectors, `(n, G)`."""
    others = observed.clone()
    others[:, place] = False
    some = (observed[:, place] & others.any(1)).nonzero()[:, 0]
    return some, others[some]


def _compute_shares(model: MAC, rows: Rows) -> Tensor:
    """Returns the shares a of the linear predictions, `(G,)`; 0 for what no row has with another modality."""
    shares = torch.zeros(len(model.linear_names))
    for place, name in enumerate(model.linear_names):
        column = model.schema.index(name)
        columns = [model.schema.index(one) for one in model.linear_names if one != name]
        values, decoded, factors = [], [], []
        for batch in rows.batches:
            some = (batch.observed[:, column] & batch.observed[:, columns].any(1)).nonzero()[:, 0]
            if not len(some):
                continue
            part = batch[some]
            given = torch.ones(1, len(model.schema), dtype=torch.bool, device=part.observed.device)
            given[:, column] = False
            z = model.encode(part, given).mean
            values.append(model.schema.hide(part, model.weight.dtype)[name])
            decoded.append(model.emit(z[:, : model.latent_dim], [name])[name])
            factors.append(z[:, model.latent_dim :])
        if values:
            compute = _compute_share if model.schema[name].levels is None else _compute_share_of_classes
            shares[place] = compute(model, place, *map(torch.cat, (values, decoded, factors)))
    return shares


def _compute_share(model: MAC, place: int, x: Tensor, g: Tensor, u: Tensor) -> float:
    """Returns the share that minimises the squared error of numbers."""
    assert model.linear is not None
    x, g, f = x.double(), g.double(), model.linear.predict(u, place).double()
    f, x = torch.where(x.isnan(), g, f), torch.where(x.isnan(), g, x)  # missing elements do not count
    upper, lower = float(((f - g) * (x - g)).sum()), float((f - g).square().sum())
    return min(1.0, max(0.0, upper / lower)) if lower > 0 else 0.0


def _compute_share_of_classes(model: MAC, place: int, x: Tensor, g: Tensor, u: Tensor) -> float:
    """Returns the share that minimises the squared error of probabilities, reduced where few rows determine it."""
    assert model.linear is not None
    p, q = g.softmax(-1).double(), model.linear.predict_classes(u, place).double()
    true = encode_one_hot(x, p.shape[-1], p.dtype)
    upper, lower = float(((q - p) * (true - p)).sum()), float((q - p).square().sum())
    return min(1.0, max(0.0, upper / lower)) * len(x) / (len(x) + FEW) if lower > 0 else 0.0
