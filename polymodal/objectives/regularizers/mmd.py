"""Maximum mean discrepancies (MMD): distances between two distributions by the means of a kernel k(u, v).

`MMD^2(p, q) = E k(p, p') + E k(z, z') - 2 E k(p, z)` for independent p, p' from the prior and z, z' from the aggregate
posterior, estimated without bias (a U-statistic in its within terms, so it can be negative).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from polymodal.objectives.regularizers.base import Regularizer
from polymodal.runtime import distributed

__all__ = ["IMQ", "MMD"]


@dataclass(frozen=True)
class Discrepancy(Regularizer):
    """The squared MMD between codes and as many fresh samples from the prior, of a kernel that a subclass gives.

    All conditionings are one batched computation from inner products.

    Where several processes have a part of a batch each, they compare their own codes with everybody's: the mean of
    their penalties, weighted with their numbers of rows, is the penalty of the batch, and so with its gradient.

    Raises:
        ValueError: There are fewer than two rows.
    """

    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """`(*)`, see `Regularizer`."""
        share = distributed.here(z.shape[-2])
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
        """The kernel of all pairs, `(*, n, D)` and `(*, m, D)` to `(*, n, m)`."""
        distance = u.square().sum(-1)[..., :, None] + v.square().sum(-1)[..., None, :] - 2 * u @ v.mT
        return self.of_distance(distance.clamp(min=0), u.shape[-1])

    @abstractmethod
    def of_distance(self, distance: Tensor, size: int) -> Tensor:
        """The kernel of pairs of D = `size` numbers at these squared distances, `(*)` to `(*)`."""

    def _pairs(self, u: Tensor, v: Tensor, start: int) -> Tensor:
        """The sum of k over pairs of u `(*, n, D)`, which is v from `start` on, and another row of v `(*, m, D)`."""
        k = self.kernel(u, v)
        return k.sum((-2, -1)) - k.diagonal(start, -2, -1).sum(-1)


@dataclass(frozen=True)
class MMD(Discrepancy):
    """`mmd`, `mmd(bandwidth)`: the squared MMD with a Gaussian kernel, `k(u, v) = exp(-|u - v|^2 / (2 D bandwidth^2))`.

    Far from the prior its gradient vanishes; `imq` and `sliced` still pull there.

    Arguments:
        bandwidth: In units of the prior's standard deviation per dimension, positive.

    Raises:
        ValueError: The bandwidth is not positive, or there are fewer than two rows.

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
        if not 0 < self.bandwidth < float("inf"):
            raise ValueError(f"bandwidth must be positive and finite; got {self.bandwidth}")

    def of_distance(self, distance: Tensor, size: int) -> Tensor:
        """See `Discrepancy`."""
        return torch.exp(distance / (-2 * size * self.bandwidth**2))


SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class IMQ(Discrepancy):
    """`imq`: the squared MMD with inverse multiquadratic kernels of several scales.

    `k(u, v) = mean over s of C_s / (C_s + |u - v|^2)` with `C_s = 2 D s` and s in (.1, .2, .5, 1, 2, 5, 10). Its tails
    are heavy, so codes far from the prior still have a gradient.

    Raises:
        ValueError: There are fewer than two rows.

    Example:
        >>> from polymodal.distributions import DiagNormal
        >>> prior = DiagNormal(torch.zeros(8), torch.ones(8))
        >>> near, far = prior.sample((2, 500)) * torch.tensor([1.0, 3.0])[:, None, None]
        >>> penalty = IMQ()(prior, torch.stack([near, far]), prior)
        >>> bool(penalty[0] < 0.01 < penalty[1])
        True

    Source: Tolstikhin et al. (2018), Wasserstein auto-encoders, section 4 and the authors' code.
    """

    def of_distance(self, distance: Tensor, size: int) -> Tensor:
        """See `Discrepancy`."""
        total = torch.zeros_like(distance)
        for scale in SCALES:
            total = total + (2 * size * scale) / (2 * size * scale + distance)
        return total / len(SCALES)
