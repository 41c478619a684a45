"""MMVAE+: a mixture of experts with a shared code z and a private code u_m per modality.

Encoder m outputs q(z | x_m) and q(u_m | x_m). Decoder m reads [z, u_m]. With K samples (z, u)_mk from the encoder of
each modality m, and samples v_n of auxiliary priors r_n(u), the loss of a row is

    L = -(1/M) sum_m log (1/K) sum_k exp lw_mk,
    lw_mk = w_m log p(x_m | z, u) + sum_{n != m} w_n log p(x_n | z, v_n)
            + beta progress [ log p(z) + log p(u) - log (1/M) sum_n q(z | x_n) - log q(u | x_m) ]

p(z) and p(u) are fixed standard priors, w_m is a loss weight, beta the weight of the densities of the codes, and
progress in [0, 1] the warm-up. r_n has the mean 0 and learned scales, and is used in training only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.distributions import Concatenated, DiagLaplace, DiagNormal
from polymodal.models.base import Loss, Weights
from polymodal.models.mixture import Estimator, Family, MixtureVAE, make_location_scale
from polymodal.schema import Schema

__all__ = ["MMVAEPlus"]


class MMVAEPlus(MixtureVAE):
    """A mixture of experts in which each modality m has a private code u_m in addition to the shared code z.

    Decoder m reads [z, u_m]. In training, modality n != m is decoded from z of modality m and a sample v_n of the
    auxiliary prior r_n:
    `lw_mk = w_m log p(x_m | z, u) + sum_{n != m} w_n log p(x_n | z, v_n)
    + beta [ log p(z) + log p(u) - log (1/M) sum_n q(z | x_n) - log q(u | x_m) ]`.

    The code is [z, u_1, .., u_M]. For modalities that are not given, u_n comes from the prior.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the shared code D.
        private_dim: Size of each private code.
        beta: Weight of the densities of the codes.
        draws: Number of samples per expert, K.
        family: Family of posteriors, priors and auxiliary priors, "laplace" or "normal".
        estimator: Gradient estimator of the bounds: "dreg" or "iwae".
        weights: See `Model`.

    Source: Palumbo, Daunhawer and Vogt (2023), Eq. 4 and 6.
    """

    name = "mmvae-plus"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 32,
        *,
        private_dim: int = 32,
        beta: float = 2.5,
        draws: int = 1,
        family: Family = "laplace",
        estimator: Estimator = "dreg",
        weights: Weights = "balanced",
    ) -> None:
        if private_dim < 1:
            raise ValueError(f"private_dim must be at least 1; got {private_dim}")
        super().__init__(schema, latent_dim, draws, family, estimator, weights, code=latent_dim + private_dim)
        self.private_dim, self.beta = private_dim, beta
        self._check_factors(beta=beta)
        self.auxiliary = nn.Parameter(torch.zeros(len(schema), private_dim))
        """Raw scales of the auxiliary priors r_n, `(M, private_dim)`, see `make_location_scale`."""

    @property
    def code_dim(self) -> int:
        """Total size of the shared code and all private codes."""
        return self.latent_dim + len(self.schema) * self.private_dim

    @property
    def prior(self) -> Distribution:
        """Prior p(z) p(u_1) .. p(u_M)."""
        return Concatenated(
            [self._make_standard(self.latent_dim)] + [self._make_standard(self.private_dim)] * len(self.schema)
        )

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Computes the bounds for a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        mean, raw, own, own_raw = self._split_experts(self._hide_elements(x))
        z, u = self._sample_experts(mean, raw), self._sample_experts(own, own_raw)  # (K, M, B, D), (K, M, B, private)
        costs = self._compute_cross_costs(x, z, u, batch.observed)
        mean, raw, own, own_raw = self._detach_parameters(mean, raw, own, own_raw)
        q, q_own = self._mix_experts(mean, raw, batch.observed), make_location_scale(own, own_raw, self.family)
        own_density = q_own.log_prob(u.movedim(1, 2)).movedim(2, 1)
        penalties = {
            "kl": q.log_prob(z) - self._make_standard(self.latent_dim).log_prob(z),
            "private": own_density - self._make_standard(self.private_dim).log_prob(u),
        }
        return self._compute_bounds(costs, penalties, self.beta * progress, [z, u], batch.observed)

    def _compute_cross_costs(self, x: Mapping[str, Tensor], z: Tensor, u: Tensor, observed: Tensor) -> Tensor:
        """Computes costs `(N, K, M, B)` of modality n from codes of expert m, with u if n = m, else a sample of r_n."""
        auxiliary = make_location_scale(torch.zeros_like(self.auxiliary), self.auxiliary, self.family)
        v = auxiliary.rsample(z.shape[:-1]).movedim(-2, 0)  # (N, K, M, B, private)
        mine = torch.eye(len(self.schema), dtype=torch.bool, device=z.device)[..., None, None]  # (N, M, 1, 1)
        codes = {name: torch.cat([z, torch.where(mine[n], u, v[n])], dim=-1) for n, name in enumerate(self.schema)}
        return self._compute_costs(x, codes, observed)

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        mean, raw, own, own_raw = self._split_experts(x)
        standard = self._make_standard(self.private_dim)
        private = [
            _select_distribution(b[..., m], make_location_scale(own[:, m], own_raw[:, m], self.family), standard)
            for m in range(len(self.schema))
        ]
        return Concatenated([self._mix_experts(mean, raw, b, self._choose_modality(x, b)), *private])

    def _split_experts(self, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the means and raw scales of the shared codes, then of the private codes, `(B, M, *)` each."""
        sizes = [self.latent_dim, self.private_dim]
        (mean, own), (raw, own_raw) = (part.split(sizes, dim=-1) for part in self._encode_experts(x))
        return mean, raw, own, own_raw

    def _select_code(self, name: str, z: Tensor) -> Tensor:
        """Returns the shared code and the modality's private code."""
        start = self.latent_dim + self.schema.index(name) * self.private_dim
        return torch.cat([z[..., : self.latent_dim], z[..., start : start + self.private_dim]], dim=-1)

    def _make_standard(self, size: int) -> DiagLaplace | DiagNormal:
        return make_location_scale(self.weight.new_zeros(size), None, self.family)


def _select_distribution(
    chosen: Tensor, one: DiagLaplace | DiagNormal, other: DiagLaplace | DiagNormal
) -> Distribution:
    """Returns the distribution `one` where `chosen`, `(*, B)` bool, is True, else `other`, of the same family."""
    a, b = one.base_dist, other.base_dist
    mean, scale = (torch.where(chosen[..., None], getattr(a, n), getattr(b, n)) for n in ("loc", "scale"))
    return type(one)(mean, scale)
