"""The KL divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from polymodal.objectives.regularizers.base import Regularizer

__all__ = ["KL"]


@dataclass(frozen=True)
class KL(Regularizer):
    """KL(q(z | x, b) || p), in nats, summed over D and averaged over the rows.

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
        """`(*)`, see `Regularizer`."""
        return kl_divergence(posterior, prior.expand(posterior.batch_shape)).mean(-1)
