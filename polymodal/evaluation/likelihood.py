"""An importance-sampled bound on the likelihood of rows."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch

from polymodal.models.base import Model, answering
from polymodal.runtime.seeding import OwnStreams

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["bound", "has_density"]

DRAWS = 64
"""Codes that the bound of a row is taken over."""
CACHED = 4 * 2**20
"""Bytes of a decoder's outputs that stand at once on a CPU, in its cache."""
MOST = 128 * 2**20
"""Likewise elsewhere."""


def has_density(model: Model) -> bool:
    """Whether a model has a likelihood and a posterior with a density, so that rows have a bound.

    Codes that are sampled by a flow have no density here.
    """
    return model.likelihood and not model.deterministic and model.flow is None


def bound(model: Model, table: Table, *, draws: int = DRAWS, batch_size: int = 256, seed: int = 0) -> tuple[float, int]:
    """The mean over rows of a lower bound on log p(x), of all that a row has.

    `log p(x) >= E log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x)`, K draws of z from the posterior given all that the
    row has. It rises with K, to log p(x). No weight of a modality enters.

    Arguments:
        model: With a density, see `has_density`.
        table: N rows.
        draws: K.
        batch_size: Rows per pass.
        seed: Of the draws. PyTorch's global random state is left as it was.

    Returns:
        The mean in nats, and the number of rows.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> model = build("mvae", data.schema, latent_dim=8)
        >>> one, many = (bound(model, data.test, draws=draws)[0] for draws in (1, 64))
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
    """How many codes of each row are decoded at once."""
    numbers = max(modality.blank.numel() * (modality.levels or 1) for modality in model.schema.values())
    most = CACHED if model.weight.device.type == "cpu" else MOST
    return max(1, most // (numbers * model.weight.element_size() * max(1, rows)))
