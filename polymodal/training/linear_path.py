"""Computes the linear path of a model after its last epoch: the factor model, and the shares of its predictions.

Factor models with several numbers of factors are estimated from training rows by maximum likelihood. The one that
predicts whole vectors of the validation rows best, each from the row's other vectors, is kept. Let g be the prediction
of a vector x by the decoder, and f the linear one, both from all other modalities of a row. The share of the linear
prediction minimises the squared error on the validation rows,

    a = sum (f - g) (x - g) / sum (f - g)^2, restricted to [0, 1]

where the sums are over elements and rows. So the linear prediction is used as far as it is the better one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models.base import answering
from polymodal.models.ensemble import Ensemble
from polymodal.networks.masked_linear import fill_missing
from polymodal.objectives.factor_analysis import fit_factor_model
from polymodal.runtime.distributed import share_errors

if TYPE_CHECKING:
    from polymodal.models import MAC, Model
    from polymodal.networks import Factors
    from polymodal.table.table import Table

__all__ = ["fit_linear_path"]

COUNTS = (4, 8, 12, 16, 24, 32)
"""Numbers of factors to try."""
ROWS = 4096
"""Maximum number of rows of each table that are used."""
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
        _choose_factors(first, rows, held_out)
        for member in members:
            assert member.linear is not None
            member.linear.load_state_dict({**first.state_dict(), "share": member.linear.share})
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
        values.append(fill_missing(torch.cat([x[name] for name in model.linear_names], dim=1)).cpu().double())
        masks.append(batch.observed[:, columns].cpu())
        batches.append(batch)
        if (count := count + len(batch)) >= most:
            break
    return Rows(batches, torch.cat(values)[:most], torch.cat(masks)[:most])


def _choose_factors(linear: Factors, rows: Rows, held_out: Rows) -> None:
    """Estimates factor models from rows, and keeps the one that predicts vectors of held-out rows best."""
    repeats = torch.tensor(linear.sizes)
    mask = rows.observed.repeat_interleave(repeats, dim=1).double()
    counts = mask.sum(0).clamp(min=1)
    mean = (rows.x * mask).sum(0) / counts
    centred = (rows.x - mean) * mask
    scale = (centred.square().sum(0) / counts).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    best = float("inf")
    for count in COUNTS:
        if count > linear.count or count >= min(centred.shape):
            break
        loadings, noise = fit_factor_model(centred / scale, rows.observed, linear.sizes, count)
        before = linear.loadings.clone(), linear.noise.clone(), linear.mean.clone()
        linear.mean.copy_(mean)
        linear.loadings.zero_()[:, :count].copy_(loadings * scale[:, None])
        linear.noise.copy_(noise * scale.square())
        error = _measure_error(linear, held_out, scale)
        if error < best:
            best = error
        else:
            for kept, value in zip((linear.loadings, linear.noise, linear.mean), before, strict=True):
                kept.copy_(value)


def _measure_error(linear: Factors, rows: Rows, scale: Tensor) -> float:
    """Returns the squared error of predicting each vector from the others, relative to the variances of its elements.

    It is the mean over a vector's elements and rows, summed over vectors.
    """
    values = [part.to(linear.mean) for part in rows.x.split(linear.sizes, dim=1)]
    total = 0.0
    for place, (x, unit) in enumerate(zip(values, scale.split(linear.sizes), strict=True)):
        some, others = _select_rows(rows.observed, place)
        if len(some):
            u = linear([value[some] for value in values], others.to(linear.mean.device))
            total += float(((linear.predict(u, place) - x[some]).cpu() / unit).square().mean())
    return total


def _select_rows(observed: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Returns the rows that have a vector and another one, `(n,)`, and the mask of their other vectors, `(n, G)`."""
    others = observed.clone()
    others[:, place] = False
    some = (observed[:, place] & others.any(1)).nonzero()[:, 0]
    return some, others[some]


def _compute_shares(model: MAC, rows: Rows) -> Tensor:
    """Returns the shares a of the linear predictions, `(G,)`; 0 for a vector that no row has with another one."""
    assert model.linear is not None
    shares = torch.zeros(len(model.linear_names))
    for place, name in enumerate(model.linear_names):
        column, upper, lower = model.schema.index(name), 0.0, 0.0
        columns = [model.schema.index(one) for one in model.linear_names if one != name]
        for batch in rows.batches:
            some = (batch.observed[:, column] & batch.observed[:, columns].any(1)).nonzero()[:, 0]
            if not len(some):
                continue
            part = batch[some]
            given = torch.ones(1, len(model.schema), dtype=torch.bool, device=part.observed.device)
            given[:, column] = False
            z = model.encode(part, given).mean
            g = model.emit(z[:, : model.latent_dim], [name])[name].double()
            f = model.linear.predict(z[:, model.latent_dim :], place).double()
            x = model.schema.hide(part, model.weight.dtype)[name].double()
            f, x = torch.where(x.isnan(), g, f), torch.where(x.isnan(), g, x)  # missing elements do not count
            upper += float(((f - g) * (x - g)).sum())
            lower += float((f - g).square().sum())
        shares[place] = min(1.0, max(0.0, upper / lower)) if lower > 0 else 0.0
    return shares
