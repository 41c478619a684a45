"""Codes of an ensemble, and the mixture of its members' predictions.

An ensemble of n members has the code z = [z_1, .., z_n], with z_i the code of member i, and predicts the mixture

    p(x | z) = (1 / n) sum_i p_i(x | z_i)

p_i is the prediction of member i. The posterior mean has the codes of all members. A sample is made by a single member:
the codes of the other members are NaN, and the prediction is that of this member.
"""

from __future__ import annotations

from math import log, prod
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, MixtureSameFamily

from polymodal.distributions import Concatenated
from polymodal.runtime.vectorizing import is_exporting

__all__ = ["EnsembleCodes", "choose_members", "find_present", "mix_predictions", "select_members"]

Size = torch.Size | list[int] | tuple[int, ...]


class EnsembleCodes(Concatenated):
    """The distribution of an ensemble's codes: a mixture of the distributions of its members' codes.

    The members of consecutive samples of a row are consecutive, from a random one on. So n samples are made by n
    different members.

    Arguments:
        parts: Distribution of each member's code, with the same batch shape `(*, B)` and event shape `(D,)`.

    Example:
        >>> from polymodal.distributions import Dirac
        >>> q = EnsembleCodes([Dirac(torch.zeros(4, 2)), Dirac(torch.ones(4, 2))])
        >>> q.mean[0]
        tensor([0., 0., 1., 1.])
        >>> q.sample([2]).isnan().sum(-1).unique(), q.sample([2]).nansum((0, -1))
        (tensor([2]), tensor([2., 2., 2., 2.]))
    """

    @property
    def noise_dim(self) -> int:
        """Number of noise elements per sample: one that selects the member, and the most of a member."""
        return 1 + max(part.noise_dim for part in self.parts)  # pyright: ignore[reportAttributeAccessIssue]

    def sample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns samples `(*sample_shape, *, B, D)` without gradients, each made by one member."""
        shape = torch.Size(sample_shape)
        parts = cast("list[Any]", self.parts)
        with torch.no_grad():
            if all(hasattr(part, "from_noise") for part in parts):  # equal members have equal samples
                like, size = parts[0].mean, max(part.noise_dim for part in parts)
                noise = torch.randn(*shape, *self.batch_shape, size, dtype=like.dtype, device=like.device)
                codes = torch.cat([part.from_noise(noise[..., : part.noise_dim]) for part in parts], dim=-1)
            else:
                codes = torch.cat([part.sample(shape) for part in parts], dim=-1)
            first = torch.rand(self.batch_shape, device=codes.device)
        return self._keep_one(codes, first, shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns samples `(*sample_shape, *, B, D)` for standard normal noise `(*sample_shape, *, B, noise_dim)`."""
        shape = noise.shape[: noise.dim() - 1 - len(self.batch_shape)]
        first = torch.special.ndtr(noise[..., 0].reshape(prod(shape), *self.batch_shape)[0].double())
        parts = cast("list[Any]", self.parts)
        codes = torch.cat([part.from_noise(noise[..., 1 : 1 + part.noise_dim]) for part in parts], dim=-1)
        return self._keep_one(codes, first, shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log density in nats of complete codes, or of codes of one member, `(*sample_shape, *, B)`."""
        codes = value.split(self.sizes, dim=-1)
        densities = torch.stack([part.log_prob(own) for part, own in zip(self.parts, codes, strict=True)])
        return torch.where(torch.stack([own.isnan().any(-1) for own in codes]), 0.0, densities).sum(0)

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> EnsembleCodes:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the same distribution with its batch shape broadcast to `batch_shape`."""
        return EnsembleCodes([part.expand(torch.Size(batch_shape)) for part in self.parts])

    def _keep_one(self, codes: Tensor, first: Tensor, shape: torch.Size) -> Tensor:
        """Returns samples of which one member's code is kept.

        Arguments:
            codes: Samples of all members' codes, `(*shape, *, B, D)`.
            first: Numbers in [0, 1) that select the member of each row's first sample, `(*, B)`.
            shape: Shape of the samples of each row.
        """
        members = len(self.parts)
        number = torch.arange(prod(shape), device=codes.device).view(*shape, *[1] * len(self.batch_shape))
        chosen = ((first * members).long() + number) % members  # (*shape, *, B)
        owner = torch.repeat_interleave(torch.arange(members), torch.tensor(self.sizes)).to(codes.device)
        return codes.masked_fill(owner != chosen[..., None], torch.nan)


def find_present(z: Tensor, members: int) -> Tensor:
    """Returns which members' codes are known, `(members, *, B)` bool, for codes z `(*, B, D)`."""
    return ~z.unflatten(-1, (members, -1)).isnan().any(-1).movedim(-1, 0)


def mix_predictions(components: Distribution) -> Distribution:
    """Returns the mixture of members' predictions with equal weights, with batch shape `(*, B)`.

    The mean and the variance of numbers are those of the mixture. The probabilities of classes, and of the tokens at
    each place of a text, are the means over the members.

    Arguments:
        components: Predictions of n members, with batch shape `(*, B, n)`.

    Example:
        >>> components = Independent(Categorical(torch.tensor([[[0.9, 0.1], [0.3, 0.7]]])), 0)
        >>> mix_predictions(components).base_dist.probs
        tensor([[0.6000, 0.4000]])
    """
    base: Any = components.base_dist if isinstance(components, Independent) else None
    axis, elements = len(components.batch_shape) - 1, len(components.event_shape)
    if isinstance(base, Categorical):
        logits = base.logits.logsumexp(axis) - log(base.logits.shape[axis])
        return Independent(Categorical(logits=logits, validate_args=False), elements, validate_args=False)
    if isinstance(base, Bernoulli):
        mean = Bernoulli(probs=base.probs.mean(axis), validate_args=False)
        return Independent(mean, elements, validate_args=False)
    share = torch.zeros(components.batch_shape, device=components.mean.device, dtype=components.mean.dtype)
    return MixtureSameFamily(Categorical(logits=share, validate_args=False), components, validate_args=False)


def choose_members(z: Tensor) -> Tensor | None:
    """Returns the member whose outputs stand for those of each member, `(*, B, n)`; None if all have codes.

    Arguments:
        z: Codes `(n, *, B, D)`; NaN for members without one.
    """
    if is_exporting() or not z.sum().isnan():  # takes less time than a mask of all numbers
        return None
    present = ~z.isnan().any(-1).movedim(0, -1)
    if present.all():
        return None
    return torch.where(present, torch.arange(len(z), device=z.device), present.int().argmax(-1)[..., None])


def select_members(output: Tensor, axis: int, chosen: Tensor | None) -> Tensor:
    """Moves the axis of n members of outputs `(n, *, B, ...)` after that of the rows, and selects members.

    Arguments:
        output: Outputs of all members.
        axis: The axis after that of the rows.
        chosen: Result of `choose_members`.
    """
    output = output.movedim(0, axis)
    if chosen is None:
        return output
    return output.gather(axis, chosen[(..., *[None] * (output.dim() - chosen.dim()))].expand_as(output))
