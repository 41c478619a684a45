"""Posteriors q(z | x, b), as `torch.distributions`: batch shape `(*, B)`, event shape `(D,)`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

__all__ = ["DiagNormal", "Dirac"]


class Dirac(Distribution):
    """All mass on one code: the posterior of a deterministic encoder.

    It has no density, so no `log_prob` and no KL divergence from anything continuous; what compares it with
    a prior must work on samples, as the MMD does.

    Arguments:
        value: The code, `(*, B, D)`.

    Example:
        >>> q = Dirac(torch.tensor([[1.0, 2.0]]))
        >>> q.batch_shape, q.event_shape
        (torch.Size([1]), torch.Size([2]))
        >>> q.rsample((3,)).shape
        torch.Size([3, 1, 2])

    Source: MAC-WAE, section "Encoder and Decoders": the posterior of a deterministic encoder is a Dirac delta.
    """

    has_rsample = True

    def __init__(self, value: Tensor) -> None:
        self.value = value
        super().__init__(value.shape[:-1], value.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The code, `(*, B, D)`."""
        return self.value

    @property
    def mode(self) -> Tensor:
        """The code, `(*, B, D)`."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """Zeros, `(*, B, D)`."""
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The code, repeated: `(*sample_shape, *, B, D)`, without copying."""
        return self.value.expand(torch.Size(sample_shape) + self.value.shape)

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> Dirac:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same posterior with its batch shape broadcast to `batch_shape`."""
        return Dirac(self.value.expand(*batch_shape, *self.event_shape))


class DiagNormal(Independent):
    """A Gaussian with diagonal covariance over codes.

    Its KL divergence from the standard normal prior is `torch.distributions`' own, in nats, summed over D.

    Arguments:
        mean: `(*, B, D)`.
        scale: Standard deviations, `(*, B, D)`, positive.

    Example:
        >>> q, p = DiagNormal(torch.ones(4, 2), torch.ones(4, 2)), DiagNormal(torch.zeros(2), torch.ones(2))
        >>> torch.distributions.kl_divergence(q, p.expand([4]))
        tensor([1., 1., 1., 1.])
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> DiagNormal:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same posterior with its batch shape broadcast to `batch_shape`."""
        shape = (*batch_shape, *self.event_shape)
        return DiagNormal(self.base_dist.mean.expand(shape), self.base_dist.stddev.expand(shape))
