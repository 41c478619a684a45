"""MoPoE: a mixture over subsets of modalities of the product of each subset's experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE, divergence
from polymodal.objectives import conditioning
from polymodal.objectives.aggregation import product, stratify
from polymodal.schema import Schema

__all__ = ["MoPoE"]

MOST_SUBSETS = 1023


class MoPoE(VAE):
    """A uniform mixture of the products of experts of all subsets.

    The loss is `rec + beta mean_A KL(q_A || p)`, the reconstruction from one subset per row. The prior is an expert
    of the full subset only. A row's mixture is over those subsets that it has whole; a row that has none of
    `subsets` whole takes part with all that it has.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        beta: Weight of the divergences.
        subsets: Lists of names; by default all 2^M - 1.
        draw: What is reconstructed from: "stratified", as many rows from each subset as can be and the rest at
            random, or "full", all that a row has (the paper's setting).
        weights: See `Model`.

    Raises:
        ValueError: There are too many subsets, or one is empty or names what is not there.

    Source: Sutter, Daunhawer and Vogt (2021), Eq. 4-6 and the authors' code.
    """

    name = "mopoe"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        beta: float = 1.0,
        subsets: Sequence[Sequence[str]] | None = None,
        draw: Literal["stratified", "full"] = "stratified",
        weights: Weights = "balanced",
    ) -> None:
        if subsets is None and 2 ** len(schema) - 1 > MOST_SUBSETS:
            raise ValueError(
                f"mopoe has 2^M - 1 subsets, at most {MOST_SUBSETS}; {len(schema)} modalities are too many; "
                "pass subsets=[[...], ...] with the lists of names to mix over"
            )
        super().__init__(schema, latent_dim, weights)
        self.beta, self.draw = beta, draw
        self.subsets = None if subsets is None else [list(names) for names in subsets]
        self._check_factors(beta=beta)
        chosen = conditioning.subsets(len(schema)) if subsets is None else self._named(self.subsets or [])
        self.register_buffer("members", chosen, persistent=False)

    members: Tensor
    """The subsets, `(S, M)` bool."""

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Eq. 6 on a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        mean, log_variance = self._experts(x)
        members, allowed = self._subsets(batch.observed)  # (S, B, M), (S, B)
        q = product(mean, log_variance, members, members.all(-1))
        kl = torch.where(allowed, divergence(q, self.prior), 0.0).sum(0) / allowed.sum(0)
        z = self._drawn(q.rsample(), members, batch.observed, allowed)
        costs = self.costs(x, z, batch.observed).mean(-1)
        total = self.weight @ costs + self.beta * progress * kl.mean()
        return self._loss(costs, {"kl": kl.mean()}, total)

    def _posterior(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        return product(*self._experts(x), b, b.all(-1))

    def _subsets(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """The subsets `(S + 1, B, M)` of every row, and which of them it is mixed over, `(S + 1, B)`.

        The last one is all that a row has; it counts where no other does.
        """
        allowed = ~(self.members[:, None] & ~observed).any(-1)
        members = torch.cat([self.members[:, None].expand(-1, len(observed), -1), observed[None]])
        return members, torch.cat([allowed, ~allowed.any(0, keepdim=True)])

    def _drawn(self, z: Tensor, members: Tensor, observed: Tensor, allowed: Tensor) -> Tensor:
        """A code per row, `(B, D)`, of those of all subsets."""
        if self.draw == "full":
            return z[-1]
        # All subsets have one for every row; of those that were chosen that must be read back from the device.
        some = self.subsets is None or allowed[:-1].any(0).all()
        index = stratify(allowed[:-1] if some else allowed)
        return z[index, torch.arange(len(observed), device=z.device)]

    def _named(self, subsets: Sequence[Sequence[str]]) -> Tensor:
        if not subsets or not all(subsets):
            raise ValueError(f"subsets must be lists of names, none of them empty; got {subsets!r}")
        return torch.stack([self.schema.mask(list(names)) for names in subsets])
