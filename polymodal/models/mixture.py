"""The base class of models with a mixture of experts: families of posteriors, and importance-weighted bounds.

The posterior is the uniform mixture of the unimodal posteriors (experts) q_m, `q(z | x) = (1/M) sum_m q_m(z | x_m)`.
With K samples z_mk from each expert and their log-weights lw_mk, the loss of a row is

    L = -(1/M) sum_m log (1/K) sum_k exp lw_mk,
    lw_mk = sum_n w_n log p(x_n | z_mk) - scale sum_p penalty_p,mk

w_n is the loss weight of modality n. A penalty is log q - log p of a code, and scale is its weight; subclasses define
both. For an incomplete row, m runs over its observed modalities, M is their number, and n skips missing ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from polymodal.distributions import DiagLaplace, DiagNormal, Mixture
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE
from polymodal.objectives.importance import doubly_reparameterized, iwae
from polymodal.runtime.vectorizing import is_exporting
from polymodal.schema import Schema

__all__ = ["Estimator", "Family", "MixtureVAE", "make_location_scale"]

Family = Literal["laplace", "normal"]
Estimator = Literal["dreg", "iwae"]

SMALLEST = 1e-6


class MixtureVAE(VAE):
    """A model whose posterior is the uniform mixture of the experts q_m, with K samples from each expert.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the shared code.
        draws: Number of samples per expert, K.
        family: Family of the posteriors, "laplace" or "normal".
        estimator: Gradient estimator of the bounds, "dreg" or "iwae".
        weights: See `Model`.
        code: Size of a decoder's input; by default that of the shared code.
    """

    def __init__(
        self,
        schema: Schema,
        latent_dim: int,
        draws: int,
        family: Family,
        estimator: Estimator,
        weights: Weights,
        code: int | None = None,
    ) -> None:
        super().__init__(schema, latent_dim, weights, code)
        self.draws: int = draws
        self.family: Family = family
        self.estimator: Estimator = estimator
        if draws < 1:
            raise ValueError(f"draws must be at least 1; got {draws}")

    def _sample_experts(self, mean: Tensor, raw: Tensor) -> Tensor:
        """Samples K codes from every expert, `(K, M, B, D)`, given means and raw scales `(B, M, D)`."""
        return make_location_scale(mean, raw, self.family).rsample(torch.Size([self.draws])).movedim(2, 1)

    def _detach_parameters(self, *parameters: Tensor) -> tuple[Tensor, ...]:
        """Returns the posteriors' parameters for computing densities; DReG detaches them."""
        return tuple(p.detach() for p in parameters) if self.estimator == "dreg" else parameters

    def _mix_experts(self, mean: Tensor, raw: Tensor, b: Tensor, chosen: Tensor | None = None) -> Mixture:
        """Returns the uniform mixture of the experts in the mask b.

        Arguments:
            mean: Means of the experts, `(B, M, D)`.
            raw: Raw scales of the experts, `(B, M, D)`, see `make_location_scale`.
            b: Mask of the experts to mix, `(*, B, M)` bool.
            chosen: Index of the expert whose mean is the point prediction, `(*, B)`; by default the first in b.
        """
        experts = make_location_scale(mean, raw, self.family).expand(b.shape)
        return Mixture(experts, b, b.int().argmax(-1) if chosen is None else chosen)

    def _choose_modality(self, x: Mapping[str, Tensor], b: Tensor) -> Tensor:
        """Chooses one of the given modalities for each row.

        The choice is a hash of the values of the row's given modalities, so it does not depend on the other rows of the
        batch. It is about uniform over different rows.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            b: Conditioning mask, `(*, B, M)` bool, with at least one modality in every row.

        Returns:
            Indices of the modalities, `(*, B)` int64.
        """
        total = torch.zeros(b.shape[-2:], dtype=torch.int64, device=b.device)  # (B, M)
        for m, name in enumerate(self.schema):
            value = x[name].float().nan_to_num()  # a missing element is NaN
            value = value.flatten(1) if value.dim() > 1 else value[:, None]
            factors = torch.arange(1, value.shape[1] + 1, device=b.device) * 2_654_435_761 % 2**31
            total[:, m] = (_read_bits(value) % 65_521 * factors).sum(1) % 2**31
        mixed = (torch.where(b, total, 0).sum(-1) * 48_271 + 11) % (2**31 - 1)  # (*, B)
        mixed = mixed * 48_271 % (2**31 - 1)
        wanted = mixed % b.sum(-1)
        return (b & (b.cumsum(-1) == wanted[..., None] + 1)).int().argmax(-1)

    def _compute_bounds(
        self,
        costs: Tensor,
        penalties: Mapping[str, Tensor],
        scale: float | Tensor,
        codes: list[Tensor],
        observed: Tensor,
    ) -> Loss:
        """Computes the loss L: the negative mean of the bounds over a row's observed modalities and over rows.

        Arguments:
            costs: -log p(x_n | z_mk), `(N, K, M, B)`.
            penalties: log q - log p of the codes, `(K, M, B)` by name.
            scale: Weight of the penalties.
            codes: Codes that the costs and penalties were computed from, `(K, M, B, *)` each.
            observed: Observed mask, `(B, M)` bool.
        """
        weights = -torch.einsum("n,nkmb->kmb", self.weight, costs) - scale * torch.stack([*penalties.values()]).sum(0)
        bounds = doubly_reparameterized(weights, codes) if self.estimator == "dreg" else iwae(weights)  # (M, B)
        share = observed.to(bounds.dtype) / observed.sum(-1, keepdim=True)
        share = share.T / len(observed)  # (M, B)
        means = torch.einsum("nkmb,mb->n", costs.detach(), share) / self.draws
        logged = {name: torch.einsum("kmb,mb->", part.detach(), share) / self.draws for name, part in penalties.items()}
        return self._make_loss(means, logged, -(share * bounds).sum())


def make_location_scale(mean: Tensor, raw: Tensor | None, family: Family) -> DiagLaplace | DiagNormal:
    """Returns a posterior or prior with given means.

    The scale is `exp(raw / 2)` for a normal distribution and `D softmax(raw) + 1e-6` for a Laplace distribution.

    Arguments:
        mean: Means, `(*, D)`.
        raw: Raw scales, `(*, D)`: log-variances of a normal distribution, or logits of the scales of a Laplace
            distribution, whose mean is 1. None sets all scales to 1.
        family: Family of the distribution, "laplace" or "normal".

    Example:
        >>> make_location_scale(torch.zeros(2), torch.zeros(2), "laplace").base_dist.scale
        tensor([1.0000, 1.0000])

    Source: Shi et al. (2019), the authors' code.
    """
    if raw is None:
        scale = torch.ones_like(mean)
    elif family == "normal":
        scale = (raw / 2).exp()
    else:
        scale = raw.shape[-1] * raw.softmax(-1) + SMALLEST
    return DiagNormal(mean, scale) if family == "normal" else DiagLaplace(mean, scale)


def _read_bits(x: Tensor) -> Tensor:
    """Returns the bits of float32 numbers as signed integers, int64; computed by arithmetic in an export.

    A number `m 2^e`, with m in [1, 2), has the bits `(e + 127) 2^23 + (m - 1) 2^23`, less 2^31 if it is negative.
    """
    if not is_exporting():
        return x.contiguous().view(torch.int32).long()
    size = x.abs().double()
    exponent = (size.clamp(min=2.0**-126).log2() + 1e-9).floor()  # the logarithm may be rounded
    bits = ((exponent + 126) * 2.0**23 + size * torch.exp2(23 - exponent)).long()
    return torch.where(torch.where(x == 0, 1 / x, x) < 0, bits - 2**31, bits)
