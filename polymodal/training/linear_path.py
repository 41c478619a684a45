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
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.inference.passes import emit_each, encode
from polymodal.models.base import answering
from polymodal.models.ensemble import Ensemble
from polymodal.networks import Factors
from polymodal.networks.factors import normalise_classes
from polymodal.networks.one_hot import encode_one_hot
from polymodal.objectives.covariance import decompose, fit_covariance
from polymodal.objectives.factor_analysis import fit_factor_model
from polymodal.runtime.distributed import share_errors

if TYPE_CHECKING:
    from polymodal.models import MAC, Model
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
MOST_LEFT_OUT = 64
"""Most elements of vectors that are predicted by a leave-one-out formula, which needs a matrix per vector and mask."""
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
        first = cast("MAC", model.structure if isinstance(model, Ensemble) else model)
        assert first.linear is not None
        rows = _read(first, train, min(ROWS, NUMBERS // sum(first.linear.sizes)))
        held_out = _read(first, validation, ROWS)
        linear = Factors(first.linear.sizes, first.linear.count).to(first.linear.mean)
        choose = _choose_factors if first.has_wide_vectors else _choose_ridge
        choose(linear, rows, held_out)
        first.linear.share.zero_()  # predictions are those of the decoders until the shares are known
        shares = _compute_shares(model, first, linear, held_out)
        for name in ("mean", "loadings", "noise"):  # the same for all members
            getattr(first.linear, name).copy_(getattr(linear, name))
        first.linear.share.copy_(shares.view_as(first.linear.share))
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
        batches.append(batch[: most - count])
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


def _choose_factors(linear: Factors, rows: Rows, held_out: Rows) -> None:
    """Estimates factor models from rows, and keeps the one that predicts vectors of held-out rows best."""
    scaled = _standardise(linear, rows)
    counts = [count for count in COUNTS if count <= linear.count and count < min(scaled.x.shape)]
    models = (fit_factor_model(scaled.x, rows.observed, linear.sizes, count) for count in counts)
    _keep_best(linear, models, scaled, held_out)


def _choose_ridge(linear: Factors, rows: Rows, held_out: Rows) -> None:
    """Estimates the covariance of all elements, and keeps the ridge penalty that predicts held-out rows best."""
    scaled = _standardise(linear, rows)
    covariance = fit_covariance(scaled.x, scaled.mask)
    models = (decompose(covariance, penalty, linear.count) for penalty in PENALTIES)
    _keep_best(linear, models, scaled, held_out)


def _keep_best(linear: Factors, models: Iterable[tuple[Tensor, Tensor]], scaled: Scaled, held_out: Rows) -> None:
    """Keeps the loadings and noise variances of standardised values that predict held-out rows best."""
    best, kept = float("inf"), linear.state_dict()
    for loadings, noise in models:
        linear.mean.copy_(scaled.mean)
        linear.loadings.zero_()[:, : loadings.shape[1]].copy_(loadings * scaled.scale[:, None])
        linear.noise.copy_(noise * scaled.scale.square())
        error = _measure_error(linear, held_out, scaled.scale)
        if error < best:
            best, kept = error, {name: value.clone() for name, value in linear.state_dict().items()}
    linear.load_state_dict(kept)


def _measure_error(linear: Factors, rows: Rows, scale: Tensor) -> float:
    """Returns the squared error of predicting each vector from the others, relative to the variances of its elements.

    It is the mean over a vector's elements and rows, summed over vectors.
    """
    sizes = torch.tensor(linear.sizes)
    mask = _find_predictable(rows.observed).repeat_interleave(sizes, dim=1).double()
    squares = ((_predict_left_out(linear, rows) - rows.x) / scale).square() * mask
    return float((squares.sum(0) / mask.sum(0).clamp(min=1) / sizes.repeat_interleave(sizes)).sum())


def _predict_left_out(linear: Factors, rows: Rows) -> Tensor:
    """Returns linear predictions of each vector from the row's other vectors, `(N, P)` float64 on the CPU."""
    values = [part.to(linear.mean) for part in rows.x.split(linear.sizes, dim=1)]
    observed = rows.observed.to(linear.mean.device)
    if max(linear.sizes) <= MOST_LEFT_OUT:
        return linear.predict_left_out(values, observed).cpu()
    predicted = []
    for place in range(len(values)):
        others = observed.clone()
        others[:, place] = False
        predicted.append(linear.predict(linear(values, others), place).cpu().double())
    return torch.cat(predicted, dim=1)


def _find_predictable(observed: Tensor) -> Tensor:
    """Returns which vectors of rows are observed together with another one, `(N, G)` bool."""
    return observed & (observed.sum(1, keepdim=True) > 1)


def _compute_shares(model: Model, first: MAC, linear: Factors, rows: Rows) -> Tensor:
    """Returns the shares a of the linear predictions of each member, `(n, G)`.

    The share is 0 for what no row has with another modality.

    Arguments:
        model: Model whose shares are 0, so that its predictions are those of the decoders.
        first: Its first member, or the model itself if it has no members.
        linear: Factor model that makes the linear predictions.
        rows: Validation rows.
    """
    names = first.linear_names
    columns = [model.schema.index(name) for name in names]
    given = torch.ones(len(names), len(model.schema), dtype=torch.bool, device=model.weight.device)
    given[range(len(names)), columns] = False
    true: dict[str, list[Tensor]] = {name: [] for name in names}
    decoded: dict[str, list[Tensor]] = {name: [] for name in names}
    some = _find_predictable(rows.observed)
    for batch, own in zip(rows.batches, some.split([len(batch) for batch in rows.batches]), strict=True):
        z = encode(model, batch, given)[0]
        places = [column.nonzero()[:, 0].to(z.device) for column in own.unbind(1)]
        codes = {name: z[place, chosen] for place, (name, chosen) in enumerate(zip(names, places, strict=True))}
        x = model.schema.hide(batch, model.weight.dtype)
        for name, output in emit_each(model, codes).items():
            decoded[name].append(output)
            true[name].append(x[name][places[names.index(name)]])
    shares = torch.zeros(model.member_count, len(names))
    predicted = _predict_left_out(linear, rows).to(model.weight.device).split(linear.sizes, dim=1)
    for place, name in enumerate(names):
        if decoded[name]:
            compute = _compute_share if model.schema[name].levels is None else _compute_share_of_classes
            g = torch.cat(decoded[name]).double()
            g = g.movedim(1, 0) if model.member_count > 1 else g[None]
            shares[:, place] = compute(torch.cat(true[name]), g, predicted[place][some[:, place].to(g.device)]).cpu()
    return shares


def _compute_share(x: Tensor, g: Tensor, f: Tensor) -> Tensor:
    """Returns the shares that minimise the squared error of numbers, `(n,)`.

    Arguments:
        x: True values, `(N, size)`.
        g: Predictions of the decoders of n members, `(n, N, size)` float64.
        f: Linear predictions, `(N, size)` float64.
    """
    f, x = torch.where(x.isnan(), g, f), torch.where(x.isnan(), g, x.double())  # missing elements do not count
    return _divide(((f - g) * (x - g)).sum((1, 2)), (f - g).square().sum((1, 2)))


def _compute_share_of_classes(x: Tensor, g: Tensor, f: Tensor) -> Tensor:
    """Returns the shares that minimise the squared error of probabilities, reduced where few rows determine them.

    The arguments are those of `_compute_share`, with scores g of classes.
    """
    p, q = g.softmax(-1), normalise_classes(f)
    true = encode_one_hot(x, p.shape[-1], p.dtype)
    best = _divide(((q - p) * (true - p)).sum((1, 2)), (q - p).square().sum((1, 2)))
    return best * len(x) / (len(x) + FEW)


def _divide(upper: Tensor, lower: Tensor) -> Tensor:
    """Returns quotients restricted to [0, 1]; 0 where the denominator is 0."""
    return torch.where(lower > 0, upper / lower, 0.0).clamp(0, 1)
