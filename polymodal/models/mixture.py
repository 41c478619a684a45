"""What models with a mixture of experts have in common: families of posteriors, and importance-weighted bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from polymodal.distributions import DiagLaplace, DiagNormal, Mixture
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE
from polymodal.objectives.importance import doubly_reparameterized, iwae
from polymodal.schema import Schema

__all__ = ["Estimator", "Family", "MixtureVAE", "located"]

Family = Literal["laplace", "normal"]
Estimator = Literal["dreg", "iwae"]

SMALLEST = 1e-6


class MixtureVAE(VAE):
    """A model whose posterior is the uniform mixture of what each modality says, with K draws from each.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the shared code.
        draws: Per expert, K.
        family: Of the posteriors.
        estimator: Of the gradient of the bounds.
        weights: See `Model`.
        code: Size of what a decoder reads; by default that of the shared code.
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
            raise ValueError(f"draws must be at least 1, got {draws}")

    def _sampled(self, mean: Tensor, raw: Tensor) -> Tensor:
        """K draws from every expert, `(K, M, B, D)`, of means and raw scales `(B, M, D)`."""
        return located(mean, raw, self.family).rsample(torch.Size([self.draws])).movedim(2, 1)

    def _weighing(self, *parameters: Tensor) -> tuple[Tensor, ...]:
        """The posteriors' parameters as they are to enter their densities: without gradients under DReG."""
        return tuple(p.detach() for p in parameters) if self.estimator == "dreg" else parameters

    def _mixture(self, mean: Tensor, raw: Tensor, b: Tensor, chosen: Tensor | None = None) -> Mixture:
        """Of the experts, `(B, M, D)` each, that `(*, B, M)` bool names."""
        experts = located(mean, raw, self.family).expand(b.shape)
        return Mixture(experts, b, b.int().argmax(-1) if chosen is None else chosen)

    def _bounds(
        self,
        costs: Tensor,
        penalties: Mapping[str, Tensor],
        scale: float | Tensor,
        codes: list[Tensor],
        observed: Tensor,
    ) -> Loss:
        """The negative mean, over the experts that a row has and over the rows, of their bounds.

        Arguments:
            costs: -log p(x_n | z_mk), `(N, K, M, B)`.
            penalties: log q - log p of the codes, `(K, M, B)` by name.
            scale: Of the penalties.
            codes: That the bounds are computed from, `(K, M, B, *)` each.
            observed: `(B, M)` bool.
        """
        weights = -torch.einsum("n,nkmb->kmb", self.weight, costs) - scale * torch.stack([*penalties.values()]).sum(0)
        bounds = doubly_reparameterized(weights, codes) if self.estimator == "dreg" else iwae(weights)  # (M, B)
        share = observed.to(bounds.dtype) / observed.sum(-1, keepdim=True)
        share = share.T / len(observed)  # (M, B)
        means = torch.einsum("nkmb,mb->n", costs.detach(), share) / self.draws
        logged = {name: torch.einsum("kmb,mb->", part.detach(), share) / self.draws for name, part in penalties.items()}
        return self._loss(means, logged, -(share * bounds).sum())


def located(mean: Tensor, raw: Tensor | None, family: Family) -> DiagLaplace | DiagNormal:
    """A posterior or prior with these means.

    Arguments:
        mean: `(*, D)`.
        raw: What its scales are made of: log-variances of a Gaussian; logits of a Laplace distribution's scales,
            whose mean is 1. None makes all scales 1. `(*, D)`.
        family: Of the distribution.

    Example:
        >>> located(torch.zeros(2), torch.zeros(2), "laplace").base_dist.scale
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
