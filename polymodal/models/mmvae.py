"""MMVAE: a mixture of experts, trained on importance-weighted bounds.

The posterior is `q(z | x) = (1/M) sum_m q_m(z | x_m)`. With K samples z_mk from each unimodal posterior (expert) q_m,
the loss of a row is

    L = -(1/M) sum_m log (1/K) sum_k exp lw_mk,
    lw_mk = sum_n w_n log p(x_n | z_mk) + progress [ log p(z_mk) - log q(z_mk | x) ]

p(z) is the prior, w_n the loss weight of modality n, and progress in [0, 1] the warm-up. For K = 1 this is the
stratified ELBO. The estimator "dreg" has the same value and a gradient of lower variance, see
`polymodal.objectives.importance`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.models.base import Loss, Weights
from polymodal.models.mixture import Estimator, Family, MixtureVAE, make_location_scale
from polymodal.schema import Schema

__all__ = ["MMVAE"]


class MMVAE(MixtureVAE):
    """The mixture of experts q(z | x) = (1/M) sum_m q_m, trained on one importance-weighted bound per expert.

    Every modality is decoded from all K samples z_mk of each q_m. With
    `lw_mk = sum_n w_n log p(x_n | z_mk) + log p(z_mk) - log (1/M) sum_n q_n(z_mk)`, the loss is
    `-(1/M) sum_m log (1/K) sum_k exp lw_mk`. For an incomplete row, the mixture is over its observed modalities. The
    warm-up scales log p(z) - log q(z).

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        draws: Number of samples per expert, K.
        family: Family of the posteriors and the prior: "laplace", with learned scales of the prior, or "normal".
        estimator: Gradient estimator of the bounds: "dreg" or "iwae".
        weights: See `Model`.

    Source: Shi et al. (2019), Eq. 3-4 and the authors' code.
    """

    name = "mmvae"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        draws: int = 10,
        family: Family = "laplace",
        estimator: Estimator = "dreg",
        weights: Weights = "balanced",
    ) -> None:
        super().__init__(schema, latent_dim, draws, family, estimator, weights)
        self.prior_logits = nn.Parameter(torch.zeros(latent_dim)) if family == "laplace" else None

    @property
    def prior(self) -> Distribution:
        """Prior p(z) on the model's device and in its dtype."""
        return make_location_scale(self.weight.new_zeros(self.latent_dim), self.prior_logits, self.family)

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Computes the bounds for a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        mean, raw = self._encode_experts(self._hide_elements(x))
        z = self._sample_experts(mean, raw)
        mean, raw = self._detach_parameters(mean, raw)
        q = self._mix_experts(mean, raw, batch.observed)
        costs = self.costs(x, z, batch.observed)
        return self._compute_bounds(
            costs, {"kl": q.log_prob(z) - self.prior.log_prob(z)}, progress, [z], batch.observed
        )

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        return self._mix_experts(*self._encode_experts(x), b, self._choose_modality(x, b))
