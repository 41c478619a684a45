"""Posterior distributions q(z | x, b) of latent codes z, given values x and the mask b of observed modalities.

They follow the interface of `torch.distributions`, with batch shape `(*, B)` and event shape `(D,)`:

    Dirac:        q(z) = delta(z - value)
    DiagNormal:   q(z) = prod_d Normal(z_d; mean_d, scale_d^2)
    DiagLaplace:  q(z) = prod_d exp(-|z_d - mean_d| / scale_d) / (2 scale_d)
    Mixture:      q(z) = (1 / |A|) sum_{s in A} q_s(z), A the set of the row's components
    Concatenated: q(z) = prod_i q_i(z_i), z = [z_1, z_2, ..]
    Hierarchical: z = [top, below_1, .., below_M]; below_m is sampled from q_m, or computed from the top code

Each distribution also has `from_noise`, which turns given standard normal noise into samples. This way a row's sample
can be made independent of the other rows in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Laplace, MixtureSameFamily, Normal
from torch.distributions.kl import kl_divergence, register_kl

__all__ = ["Concatenated", "DiagLaplace", "DiagNormal", "Dirac", "Hierarchical", "Mixture"]

Size = torch.Size | list[int] | tuple[int, ...]


class Dirac(Distribution):
    """A point mass at one code: the posterior of a deterministic encoder.

    It has no density, and thus no `log_prob` and no KL divergence to a continuous distribution. A divergence between
    it and a prior must be estimated from samples, such as the MMD.

    Arguments:
        value: Latent codes, `(*, B, D)`.

    Example:
        >>> q = Dirac(torch.tensor([[1.0, 2.0]]))
        >>> q.batch_shape, q.event_shape
        (torch.Size([1]), torch.Size([2]))
        >>> q.rsample((3,)).shape
        torch.Size([3, 1, 2])

    Source: MAC-WAE, section "Encoder and Decoders": the posterior of a deterministic encoder is a Dirac delta.
    """

    has_rsample = True
    noise_dim = 0

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

    def rsample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the repeated code, `(*sample_shape, *, B, D)`, without copying it."""
        return self.value.expand(torch.Size(sample_shape) + self.value.shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns the repeated code, `(*sample_shape, *, B, D)`, for empty noise `(*sample_shape, *, B, 0)`."""
        return self.value.expand(*noise.shape[:-1], self.value.shape[-1])

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> Dirac:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the same posterior with its batch shape broadcast to `batch_shape`."""
        return Dirac(self.value.expand(*batch_shape, *self.event_shape))


class _Diagonal(Independent):
    """A distribution of codes with independent elements, each of which has a location and a scale."""

    @property
    def noise_dim(self) -> int:
        """Number of noise elements per sample: D."""
        return self.event_shape[0]

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the same posterior with its batch shape broadcast to `batch_shape`."""
        shape = (*batch_shape, *self.event_shape)
        return type(self)(self.base_dist.loc.expand(shape), self.base_dist.scale.expand(shape))


class DiagNormal(_Diagonal):
    """A Gaussian distribution of codes with diagonal covariance.

    `torch.distributions.kl_divergence` gives its KL divergence to another one, such as the prior, in nats, summed
    over D.

    Arguments:
        mean: Means, `(*, B, D)`.
        scale: Standard deviations, `(*, B, D)`, positive.

    Example:
        >>> q, p = DiagNormal(torch.ones(4, 2), torch.ones(4, 2)), DiagNormal(torch.zeros(2), torch.ones(2))
        >>> torch.distributions.kl_divergence(q, p.expand([4]))
        tensor([1., 1., 1., 1.])
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor) -> DiagNormal:
        """Creates the distribution from a network's outputs, `(*, B, D)` each."""
        return cls(mean, (log_variance / 2).exp())

    def rsample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns reparameterised samples `(*sample_shape, *, B, D)`; those of `Normal` do not support `vmap`."""
        like = self.base_dist.loc
        shape = torch.Size(sample_shape) + like.shape
        return self.from_noise(torch.randn(shape, dtype=like.dtype, device=like.device))

    def sample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns samples `(*sample_shape, *, B, D)` without gradients.

        `Normal.sample` checks the scales, which synchronises with the GPU; this method does not.
        """
        with torch.no_grad():
            return self.rsample(torch.Size(sample_shape))

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns samples `mean + scale * noise` for standard normal noise, both `(*sample_shape, *, B, D)`."""
        return self.base_dist.loc + self.base_dist.scale * noise.to(self.base_dist.loc)


class DiagLaplace(_Diagonal):
    """A Laplace distribution of codes with independent elements.

    `torch.distributions.kl_divergence` gives its KL divergence to another one, in nats, summed over D.

    Arguments:
        mean: Means, `(*, B, D)`.
        scale: Mean absolute deviations, `(*, B, D)`, positive.

    Example:
        >>> q, p = DiagLaplace(torch.zeros(4, 2), torch.ones(4, 2)), DiagLaplace(torch.zeros(2), torch.ones(2))
        >>> torch.distributions.kl_divergence(q, p.expand([4]))
        tensor([0., 0., 0., 0.])
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__(Laplace(mean, scale, validate_args=False), 1, validate_args=False)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns samples for standard normal noise, both `(*sample_shape, *, B, D)`.

        It applies the inverse cumulative distribution function of the Laplace distribution:
        `mean - scale * sign(u) * log(1 - 2 |u|)`, where `u = Phi(noise) - 1/2` and `Phi` is the cumulative
        distribution function of the standard normal distribution.
        """
        tail = torch.special.log_ndtr(-noise.double().abs())  # log(1/2 - |u|)
        unit = noise.sign() * -(tail + log(2))
        return self.base_dist.loc + self.base_dist.scale * unit.to(self.base_dist.loc)


class Mixture(MixtureSameFamily):
    """A uniform mixture of the components that are present in a row.

    Arguments:
        components: Component distributions with batch shape `(*, B, S)` and event shape `(D,)`.
        present: Mask of each row's components, `(*, B, S)` bool, with at least one True per row.
        chosen: Index of the component whose mean is the row's point estimate, `(*, B)` int64. The mean of the mixture
            itself may lie where its density is close to zero.

    Example:
        >>> means = torch.tensor([[[-5.0], [5.0], [9.0]]])
        >>> components = DiagNormal(means, torch.ones_like(means))
        >>> q = Mixture(components, torch.tensor([[True, True, False]]), torch.tensor([1]))
        >>> q.mean, q.variance
        (tensor([[5.]]), tensor([[26.]]))
    """

    def __init__(self, components: Distribution, present: Tensor, chosen: Tensor) -> None:
        logits = torch.zeros_like(components.mean[..., 0]).masked_fill(~present, -torch.inf)
        super().__init__(Categorical(logits=logits, validate_args=False), components, validate_args=False)
        self.chosen = chosen

    @property
    def mean(self) -> Tensor:
        """Mean of the chosen component, `(*, B, D)`."""
        means = self.component_distribution.mean
        index = self.chosen[..., None, None].expand(*means.shape[:-2], 1, means.shape[-1])
        return means.gather(-2, index).squeeze(-2)

    @property
    def noise_dim(self) -> int:
        """Number of noise elements per sample: one that selects the component, and those of a component."""
        return 1 + self.component_distribution.noise_dim  # pyright: ignore[reportAttributeAccessIssue]

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns samples `(*sample_shape, *, B, D)` for standard normal noise `(*sample_shape, *, B, noise_dim)`."""
        share = self.mixture_distribution.probs.double().cumsum(-1)  # (*, B, S)
        point = torch.special.ndtr(noise[..., :1].double().to(share.device))
        # Rounding must not select a component of weight 0, including those after the last one of positive weight.
        last = (share >= share[..., -1:]).int().argmax(-1)
        chosen = (share <= point).sum(-1).minimum(last)
        codes = self.component_distribution.from_noise(noise[..., None, 1:])  # pyright: ignore[reportAttributeAccessIssue]
        return codes.gather(-2, chosen[..., None, None].expand(*codes.shape[:-2], 1, codes.shape[-1])).squeeze(-2)

    @property
    def variance(self) -> Tensor:
        """Variance of the mixture, `(*, B, D)`."""
        share = self.mixture_distribution.probs[..., None]
        means = self.component_distribution.mean
        center = (share * means).sum(-2, keepdim=True)
        return (share * (self.component_distribution.variance + (means - center).square())).sum(-2)


class Concatenated(Distribution):
    """Independent codes that are concatenated.

    Arguments:
        parts: Distributions with the same batch shape `(*, B)` and event shapes `(D_i,)`.

    Example:
        >>> one = DiagNormal(torch.zeros(4, 2), torch.ones(4, 2))
        >>> q = Concatenated([one, one])
        >>> q.event_shape, torch.allclose(q.log_prob(q.mean), 2 * one.log_prob(one.mean))
        (torch.Size([4]), True)
    """

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = list(parts)
        self.sizes = [part.event_shape[0] for part in self.parts]
        self.has_rsample = all(part.has_rsample for part in self.parts)
        super().__init__(self.parts[0].batch_shape, torch.Size([sum(self.sizes)]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Concatenated means, `(*, B, D)`."""
        return torch.cat([part.mean for part in self.parts], dim=-1)

    @property
    def variance(self) -> Tensor:
        """Concatenated variances, `(*, B, D)`."""
        return torch.cat([part.variance for part in self.parts], dim=-1)

    def rsample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns reparameterised samples `(*sample_shape, *, B, D)`; every part must support them."""
        return torch.cat([part.rsample(torch.Size(sample_shape)) for part in self.parts], dim=-1)

    def sample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns samples `(*sample_shape, *, B, D)` without gradients."""
        return torch.cat([part.sample(torch.Size(sample_shape)) for part in self.parts], dim=-1)

    @property
    def noise_dim(self) -> int:
        """Number of noise elements per sample: those of all parts."""
        return sum(part.noise_dim for part in self.parts)  # pyright: ignore[reportAttributeAccessIssue]

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns samples `(*sample_shape, *, B, D)` for standard normal noise `(*sample_shape, *, B, noise_dim)`."""
        parts = noise.split([part.noise_dim for part in self.parts], dim=-1)  # pyright: ignore[reportAttributeAccessIssue]
        pairs = zip(self.parts, parts, strict=True)
        return torch.cat([part.from_noise(own) for part, own in pairs], dim=-1)  # pyright: ignore[reportAttributeAccessIssue]

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log density in nats, `(*sample_shape, *, B)`: the sum of those of the parts."""
        pairs = zip(self.parts, value.split(self.sizes, dim=-1), strict=True)
        return torch.stack([part.log_prob(own) for part, own in pairs]).sum(0)

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> Concatenated:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the same posterior with its batch shape broadcast to `batch_shape`."""
        return Concatenated([part.expand(torch.Size(batch_shape)) for part in self.parts])


@register_kl(Concatenated, Concatenated)
def _kl_concatenated(p: Concatenated, q: Concatenated) -> Tensor:
    return torch.stack([kl_divergence(a, b) for a, b in zip(p.parts, q.parts, strict=True)]).sum(0)


class Hierarchical(Distribution):
    """A two-level hierarchical posterior: a top-level code and M lower-level codes.

    A lower-level code is sampled from its own posterior if the row has one, and otherwise computed from the top-level
    code. The result is one vector, `[top, below_1, .., below_M]`, of length D + M E.

    Arguments:
        top: Posterior of the top-level code, with batch shape `(*, B)` and event shape `(D,)`.
        own: Posteriors of the lower-level codes, with batch shape `(*, B, M)` and event shape `(E,)`.
        has: Mask of the lower-level codes that use `own`, `(*, B, M)` bool; the others are computed by `make`.
        make: Function from top-level codes `(*, B, D)` to lower-level codes `(*, B, M, E)`.

    Example:
        >>> zeros = torch.zeros(4, 3, 2)
        >>> below = DiagNormal(zeros, zeros + 1)
        >>> top = DiagNormal(torch.ones(4, 2), torch.ones(4, 2))
        >>> has = torch.tensor([True, False, False]).expand(4, 3)
        >>> Hierarchical(top, below, has, lambda z: z[..., None, :].expand(*z.shape[:-1], 3, 2)).mean[0]
        tensor([1., 1., 0., 0., 1., 1., 1., 1.])
    """

    def __init__(self, top: Distribution, own: Distribution, has: Tensor, make: Callable[[Tensor], Tensor]) -> None:
        self.top, self.own, self.has, self.make = top, own, has, make
        size = top.event_shape[0] + own.batch_shape[-1] * own.event_shape[0]
        super().__init__(top.batch_shape, torch.Size([size]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The code at the means of the top-level and lower-level posteriors, `(*, B, D + M E)`."""
        return self._below(self.top.mean, self.own.mean)

    @property
    def variance(self) -> Tensor:
        """Variance of the top-level code, and of the lower-level codes given the top-level code, `(*, B, D + M E)`.

        It is 0 for lower-level codes that are computed from the top-level code.
        """
        below = torch.where(self.has[..., None], self.own.variance, 0.0)
        return torch.cat([self.top.variance, below.flatten(-2)], dim=-1)

    def sample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns samples `(*sample_shape, *, B, D + M E)`."""
        shape = torch.Size(sample_shape)
        return self._below(self.top.sample(shape), self.own.sample(shape))

    @property
    def noise_dim(self) -> int:
        """Number of noise elements per sample: those of the top-level code and of each lower-level code."""
        return self.top.noise_dim + self.own.batch_shape[-1] * self.own.noise_dim  # pyright: ignore[reportAttributeAccessIssue]

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns samples `(*sample_shape, *, B, D + M E)` for normal noise `(*sample_shape, *, B, noise_dim)`."""
        size = self.top.noise_dim  # pyright: ignore[reportAttributeAccessIssue]
        own = noise[..., size:].unflatten(-1, (self.own.batch_shape[-1], -1))
        return self._below(self.top.from_noise(noise[..., :size]), self.own.from_noise(own))  # pyright: ignore[reportAttributeAccessIssue]

    def _below(self, top: Tensor, own: Tensor) -> Tensor:
        below = torch.where(self.has[..., None], own, self.make(top))
        return torch.cat([top, below.flatten(-2)], dim=-1)
