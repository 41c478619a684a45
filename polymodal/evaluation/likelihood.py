"""Importance-sampled lower bound on the log-likelihood of rows, also known as the IWAE bound.

`log p(x) >= E log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x)`, with K samples z_k from the posterior q(z | x) given the
observed modalities x of a row, the likelihood p(x | z) and the prior p(z).
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch

from polymodal.models.base import Model, answering
from polymodal.models.ensemble import Ensemble
from polymodal.runtime.seeding import OwnStreams

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["estimate_log_likelihood", "has_density"]

DRAWS = 64
"""Default number K of posterior samples per row."""
CACHED = 4 * 2**20
"""Bytes of a decoder's outputs in memory at once on a CPU, so that they fit in its cache."""
MOST = 128 * 2**20
"""Bytes of a decoder's outputs in memory at once on other devices."""


def has_density(model: Model) -> bool:
    """Returns whether a model has a likelihood and a posterior with a density, which the bound needs.

    Codes sampled by a flow have no density here.
    """
    member = model.open_members()[0] if isinstance(model, Ensemble) else model
    return member.likelihood and not member.deterministic and member.flow is None


def estimate_log_likelihood(
    model: Model, table: Table, *, draws: int = DRAWS, batch_size: int = 256, seed: int = 0
) -> tuple[float, int]:
    """Computes the mean over rows of the lower bound on log p(x), x all observed modalities of a row.

    The bound increases with K towards log p(x). Loss weights are not used.

    Arguments:
        model: Model with a density, see `has_density`.
        table: Table of N rows.
        draws: Number of posterior samples per row, K.
        batch_size: Number of rows per pass.
        seed: Random seed for sampling. PyTorch's global random state is not changed.

    Returns:
        The mean bound in nats, NaN without rows, and the number of rows.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> model = build("mvae", data.schema, latent_dim=8)
        >>> one, many = (estimate_log_likelihood(model, data.test, draws=draws)[0] for draws in (1, 64))
        >>> one < many
        True

    Source: Burda, Grosse and Salakhutdinov (2016), Eq. 8.
    """
    total, rows, device, own = 0.0, 0, model.weight.device, OwnStreams(seed)
    model.schema.require(table.schema, "the table")
    with answering(model):
        for batch in table.batches(batch_size, device=device):
            x = model.schema.hide(batch, model.weight.dtype)
            posterior = model.encode(batch)
            weights = []
            for some in torch.arange(draws).split(_at_once(model, len(batch))):
                with own:
                    z = posterior.sample(torch.Size([len(some)]))
                costs = model.costs(x, z, batch.observed).sum(0)  # (k, B)
                weights.append((model.log_ratio(z, posterior) - costs).double())
            total += float((torch.cat(weights).logsumexp(0) - log(draws)).sum())
            rows += len(batch)
    return (total / rows if rows else float("nan")), rows


def _at_once(model: Model, rows: int) -> int:
    """Returns how many codes of each row to decode at once."""
    numbers = (
        max(modality.blank.numel() * (modality.levels or 1) for modality in model.schema.values()) * model.member_count
    )
    most = CACHED if model.weight.device.type == "cpu" else MOST
    return max(1, most // (numbers * model.weight.element_size() * max(1, rows)))
