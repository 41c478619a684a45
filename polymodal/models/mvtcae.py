"""MVTCAE: a product of experts, regularised towards each expert.

The loss of a row with M modalities is

    L = (M - alpha)/M rec + beta progress [ alpha/M sum_m KL(q || q_m) + (1 - alpha) KL(q || p) ]

with `rec = -sum_m w_m log p(x_m | z)` and `z ~ q`. q_m(z | x_m) is the unimodal posterior (expert) of modality m, q the
product of the experts without a prior expert, p the prior, w_m a loss weight, alpha in [0, 1] the weight of the
experts, beta the weight of all divergences, and progress in [0, 1] the warm-up.
"""

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
    """A product of experts whose objective is derived from total correlation.

    With q the product of the experts q_m, without a prior expert, the loss is
    `(M - alpha)/M rec + beta [ alpha/M sum_m KL(q || q_m) + (1 - alpha) KL(q || p) ]`.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        alpha: Weight of the divergences from the experts, in [0, 1]; 0 gives a beta-VAE.
        beta: Weight of all divergences.
        weights: See `Model`.

    Source: Hwang et al. (2021), Eq. 8. Terms of missing modalities are 0, and M does not change.
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
        """Computes Eq. 8 for a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        mean, log_variance = self._encode_experts(self._hide_elements(x))
        q = product(mean, log_variance, batch.observed)
        costs = self.costs(x, q.rsample(), batch.observed).mean(-1)
        experts = torch.where(batch.observed, self._compute_divergences(q, mean, log_variance), 0.0).sum(-1).mean()
        prior = divergence(q, self.prior).mean()
        share = self.alpha / len(self.schema)
        penalty = share * experts + (1 - self.alpha) * prior
        total = (1 - share) * (self.weight @ costs) + self.beta * progress * penalty
        return self._make_loss(costs, {"experts": experts, "kl": prior}, total)
