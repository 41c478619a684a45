"""The maximum mean discrepancy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from polymodal import parallel
from polymodal.objectives.regularizers.base import Regularizer

__all__ = ["MMD"]


@dataclass(frozen=True)
class MMD(Regularizer):
    """The squared MMD between codes and as many fresh draws from the prior, estimated without bias.

    The kernel is `k(u, v) = exp(-|u - v|^2 / (2 D bandwidth^2))`, the estimate a U-statistic in its within terms
    (so it can be negative). All conditionings are one batched computation from inner products.

    Where several processes have a part of a batch each, they compare their own codes with everybody's: the mean of
    their penalties, weighted with their numbers of rows, is the penalty of the batch, and so with its gradient.

    Arguments:
        bandwidth: In units of the prior's standard deviation per dimension, positive.

    Raises:
        ValueError: There are fewer than two rows.

    Example:
        >>> from polymodal.distributions import DiagNormal
        >>> prior = DiagNormal(torch.zeros(8), torch.ones(8))
        >>> near, far = prior.sample((2, 500)) * torch.tensor([1.0, 3.0])[:, None, None]
        >>> penalty = MMD()(prior, torch.stack([near, far]), prior)
        >>> bool(penalty[0] < 0.01 < penalty[1])
        True

    Source: MAC-WAE, Eq. 8, with 1/(n(n-1)) in its first term, where the paper prints 1/(n-1).
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise ValueError(f"bandwidth must be positive; got {self.bandwidth}")

    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """`(*)`, see `Regularizer`."""
        share = parallel.here(z.shape[-2])
        if share.rows < 2:
            raise ValueError(
                "the MMD needs at least 2 rows in a batch, for it compares pairs of codes; got 1 row; "
                "use a larger batch, or more rows"
            )
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(torch.promote_types(z.dtype, torch.float32))
            with share.draws():
                p = prior.sample(torch.Size([*z.shape[:-2], share.rows])).to(z.dtype)
            own = p[..., share.start : share.stop, :]
            within = self._pairs(own, p, share.start) + share.mirrored(self._pairs(z, share.gather(z), share.start))
            return within / (z.shape[-2] * (share.rows - 1)) - 2 * self.kernel(p, z).mean((-2, -1))

    def kernel(self, u: Tensor, v: Tensor) -> Tensor:
        """K of all pairs, `(*, n, D)` and `(*, m, D)` to `(*, n, m)`."""
        distance = u.square().sum(-1)[..., :, None] + v.square().sum(-1)[..., None, :] - 2 * u @ v.mT
        return torch.exp(distance.clamp(min=0) / (-2 * u.shape[-1] * self.bandwidth**2))

    def _pairs(self, u: Tensor, v: Tensor, start: int) -> Tensor:
        """The sum of k over pairs of u `(*, n, D)`, which is v from `start` on, and another row of v `(*, m, D)`."""
        k = self.kernel(u, v)
        return k.sum((-2, -1)) - k.diagonal(start, -2, -1).sum(-1)
