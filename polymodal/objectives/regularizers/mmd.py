"""Maximum mean discrepancy (MMD): a distance between two distributions, defined by a kernel k(u, v).

`MMD^2 = E k(p, p') + E k(z, z') - 2 E k(p, z)` for independent samples p, p' from the prior and z, z' from the
aggregate posterior. It is estimated without bias from B codes z_i and B prior samples p_i:
`D = 1/(B(B-1)) sum_{i != j} [k(p_i, p_j) + k(z_i, z_j)] - 2/B^2 sum_{i,j} k(p_i, z_j)`.
The terms within each set are U-statistics, so D can be negative.
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
    """The squared MMD between codes and the same number of new prior samples; a subclass defines the kernel.

    All conditionings are computed in one batch, from inner products.

    With several processes, each compares its own codes with the codes of all processes. The mean of their penalties,
    weighted by their numbers of rows, equals the penalty of the global batch. The same holds for the gradient.

    Raises:
        ValueError: There are fewer than two rows.
    """

    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """Returns the penalty of each conditioning, `(*)`; see `Regularizer`."""
        share = distributed.get_local_rows(z.shape[-2])
        if share.rows < 2:
            raise ValueError(
                "the MMD needs at least 2 rows in a batch, for it compares pairs of codes; got 1 row; "
                "use a larger batch, or more rows"
            )
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(torch.promote_types(z.dtype, torch.float32))
            with share.common_streams():
                p = prior.sample(torch.Size([*z.shape[:-2], share.rows])).to(z.dtype)
            own = p[..., share.start : share.stop, :]
            within = self._pairs(own, p, share.start) + share.correct_pair_gradients(
                self._pairs(z, share.gather(z), share.start)
            )
            return within / (z.shape[-2] * (share.rows - 1)) - 2 * self.kernel(p, z).mean((-2, -1))

    def kernel(self, u: Tensor, v: Tensor) -> Tensor:
        """Returns the kernel of all pairs `(*, n, m)` of vectors u `(*, n, D)` and v `(*, m, D)`."""
        distance = u.square().sum(-1)[..., :, None] + v.square().sum(-1)[..., None, :] - 2 * u @ v.mT
        return self.of_distance(distance.clamp(min=0), u.shape[-1])

    @abstractmethod
    def of_distance(self, distance: Tensor, size: int) -> Tensor:
        """Returns the kernel `(*)` at squared distances `(*)` between vectors of dimension D = `size`."""

    def _pairs(self, u: Tensor, v: Tensor, start: int) -> Tensor:
        """Sums k(u_i, v_j) over j != start + i, where row i of u `(*, n, D)` is row start + i of v `(*, m, D)`."""
        k = self.kernel(u, v)
        return k.sum((-2, -1)) - k.diagonal(start, -2, -1).sum(-1)


@dataclass(frozen=True)
class MMD(Discrepancy):
    """`mmd`, `mmd(bandwidth)`: the squared MMD with a Gaussian kernel, `k(u, v) = exp(-|u - v|^2 / (2 D bandwidth^2))`.

    D is the dimension of the codes. The gradient vanishes for codes far from the prior; that of `imq` and `sliced`
    does not.

    Arguments:
        bandwidth: Bandwidth in units of the prior's standard deviation per dimension, positive.

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
        """Returns the kernel `(*)`; see `Discrepancy`."""
        return torch.exp(distance / (-2 * size * self.bandwidth**2))


SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class IMQ(Discrepancy):
    """`imq`: the squared MMD with inverse multiquadratic kernels of several scales.

    `k(u, v) = mean over s of C_s / (C_s + |u - v|^2)` with `C_s = 2 D s`, D the dimension of the codes, and s in (.1,
    .2, .5, 1, 2, 5, 10). Its tails are heavy, so the gradient does not vanish for codes far from the prior.

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
        """Returns the kernel `(*)`; see `Discrepancy`."""
        total = torch.zeros_like(distance)
        for scale in SCALES:
            total = total + (2 * size * scale) / (2 * size * scale + distance)
        return total / len(SCALES)
