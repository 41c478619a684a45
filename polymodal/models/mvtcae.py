"""MVTCAE: a product of experts, kept close to each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE, divergence
from polymodal.objectives.aggregation import product
from polymodal.schema import Schema

__all__ = ["MVTCAE"]


class MVTCAE(VAE):
    """Total correlation as the objective: a product of experts that is kept close to each of them.

    With q the product of the experts q_m, without a prior expert, the loss is
    `(M - alpha)/M rec + beta [ alpha/M sum_m KL(q || q_m) + (1 - alpha) KL(q || p) ]`.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        alpha: Share of the divergences from the single experts, in [0, 1]; 0 is a beta-VAE.
        beta: Weight of all divergences.
        weights: See `Model`.

    Source: Hwang et al. (2021), Eq. 8. Terms of what a row lacks are 0, and M stays M.
    """

    name = "mvtcae"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        alpha: float = 0.1,
        beta: float = 2.5,
        weights: Weights = "balanced",
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        self.alpha, self.beta = alpha, beta
        self._check_shares(alpha=alpha)
        self._check_factors(beta=beta)

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Eq. 8 on a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        mean, log_variance = self._experts(x)
        q = product(mean, log_variance, batch.observed)
        costs = self.costs(x, q.rsample(), batch.observed).mean(-1)
        experts = torch.where(batch.observed, self._apart(q, mean, log_variance), 0.0).sum(-1).mean()
        prior = divergence(q, self.prior).mean()
        share = self.alpha / len(self.schema)
        penalty = share * experts + (1 - self.alpha) * prior
        total = (1 - share) * (self.weight @ costs) + self.beta * progress * penalty
        return self._loss(costs, {"experts": experts, "kl": prior}, total)
