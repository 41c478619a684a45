"""The paper's Algorithm 1 as its authors' loop runs it: the baseline for MAC-WAE's loss.

It is the model's own networks with the model's own weights, and the same mathematics: loss and gradients equal
`Model.loss` to 1e-9 under the same random draws (`tests/identities/test_reference.py`). It shares nothing between
the K passes, so the work grows with K, and an index that was drawn twice is worked out twice.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polymodal.networks.cpu.deconvolution import Deconvolution
from polymodal.networks.cpu.linear import Linear
from polymodal.objectives import conditioning

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.models import MAC, Model

__all__ = ["distinct", "indices", "loss", "stock"]


STOCK: dict[type[nn.Module], type[nn.Module]] = {Deconvolution: nn.ConvTranspose2d, Linear: nn.Linear}
"""PyTorch's own layer in place of ours."""


def loss(model: MAC, batch: Batch) -> Tensor:
    """Returns the loss of a training step, a scalar, with one pass over the batch per conditioning mask.

    Each pass runs every modality's encoder on the batch with blanks for what is hidden, the conditioner and the
    joint encoder on the concatenation, every decoder, and the MMD. The sum is one graph, for one `backward`.

    Arguments:
        model: Deterministic, with the MMD; indices drawn per batch or per row.
        batch: B rows.

    Source: MAC-WAE, Algorithm 1.
    """
    x = model.schema.hide(batch, model.weight.dtype)
    b = indices(model, batch)
    prior = model.prior.sample(torch.Size([len(b), len(batch)]))  # (K, B, D)
    passes = [one_pass(model, x, batch.observed, b[k], prior[k]) for k in range(len(b))]
    return torch.stack(passes).sum() / len(b)


def stock(model: Model) -> Model:
    """Returns a copy of a model that has only PyTorch's own layers, with the same weights."""
    plain = deepcopy(model)
    for layer in plain.modules():
        layer.__class__ = STOCK.get(type(layer), type(layer))
    return plain


def indices(model: MAC, batch: Batch) -> Tensor:
    """Samples the conditioning masks of a step, `(K, B, M)` bool; both loops sample these first."""
    return conditioning.sample(batch.observed, model.draws, model.p0, per_sample=model.indices == "per-sample")


def distinct(model: MAC, batch: Batch, seed: int) -> int:
    """Returns the number of distinct masks among the K of a step with the given random seed."""
    torch.manual_seed(seed)
    return len(indices(model, batch).unique(dim=0))


def one_pass(model: MAC, x: dict[str, Tensor], observed: Tensor, b: Tensor, prior: Tensor) -> Tensor:
    """Returns the loss given one conditioning mask, a scalar.

    Arguments:
        model: Model, see `loss`.
        x: Prepared values by name, `(B, *shape)`.
        observed: Observed mask, `(B, M)` bool.
        b: Conditioning mask, `(B, M)` bool.
        prior: Draws from the prior, `(B, D)`.
    """
    z = encode(model, x, b)
    total = model.beta * (model.reference_cost if model.relative else 1) * mmd(prior, z)
    for m, (name, modality) in enumerate(model.schema.items()):
        cost = modality.compute_cost(model.decoders[m](z), x[name])  # (B,)
        total = total + model.weight[m] * (cost * observed[:, m]).mean()
    return total


def encode(model: MAC, x: dict[str, Tensor], b: Tensor) -> Tensor:
    """Returns the codes `(B, D)` of prepared values `(B, *shape)` given the conditioning mask b, `(B, M)` bool."""
    features = []
    for m, (name, modality) in enumerate(model.schema.items()):
        blank = modality.prepare(modality.blank, model.weight.dtype)
        seen = b[:, m].view(-1, *[1] * len(modality.shape))
        features.append(model.encoders[m](torch.where(seen, x[name], blank)))
    if model.conditioner is not None:
        features.append(model.conditioner(b.to(model.weight.dtype)))
    return model.joint.rest(model.joint.first(torch.cat(features, dim=1)))


def mmd(p: Tensor, z: Tensor) -> Tensor:
    """Returns the squared MMD of bandwidth 1 between two sets of B points `(B, D)`: one matrix of all pairs of both.

    Source: MAC-WAE, Eq. 8, with 1/(n(n-1)) in its first term, where the paper prints 1/(n-1).
    """
    n, d = p.shape
    points = torch.cat([p, z])
    norms = points.square().sum(1)
    distances = norms[:, None] + norms - 2 * points @ points.T
    k = torch.exp(distances.clamp(min=0) / (-2 * d))
    within = k[:n, :n].sum() + k[n:, n:].sum() - k.trace()
    return within / (n * (n - 1)) - 2 * k[:n, n:].mean()
