"""Kullback-Leibler (KL) divergence of the posterior from the prior.

`KL(q || p) = E_q [log q(z | x, b) - log p(z)]` for the posterior q(z | x, b) given the data x and the conditioning mask
b, and the prior p(z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from polymodal.objectives.regularizers.base import Regularizer

__all__ = ["KL"]


@dataclass(frozen=True)
class KL(Regularizer):
    """`kl`: KL(q(z | x, b) || p) in closed form, in nats, summed over the D latent dimensions and averaged over rows.

    Example:
        >>> import torch
        >>> from polymodal.distributions import DiagNormal
        >>> q = DiagNormal(torch.ones(3, 4, 2), torch.ones(3, 4, 2))
        >>> KL()(q, q.mean, DiagNormal(torch.zeros(2), torch.ones(2)))
        tensor([1., 1., 1.])

    Source: MAC-WAE, Eq. 2, and the ablation MAC-VAE.
    """

    on_samples: ClassVar[bool] = False

    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """Returns the penalty of each conditioning, `(*)`; see `Regularizer`."""
        return kl_divergence(posterior, prior.expand(posterior.batch_shape)).mean(-1)
