"""Parts that the plain loops of several models share, each written out for one pass over B rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Rows", "expert", "kl", "multiply_experts", "normal", "product", "rec"]

Rows = Mapping[str, Tensor]
"""Prepared values by name, `(B, *shape)`."""


def normal(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal noise of a shape."""
    return torch.zeros(*shape, dtype=like.dtype, device=like.device).normal_()


def expert(model: Any, x: Rows, m: int) -> tuple[Tensor, Tensor]:
    """Returns the mean and the raw scale of modality m (the log-variance of a Gaussian), `(B, D)` each."""
    mean, raw = model.encoders[m](x[list(model.schema)[m]]).chunk(2, dim=-1)
    return mean, raw


def product(model: Any, x: Rows, members: Sequence[bool], prior: bool) -> tuple[Tensor, Tensor]:
    """Mean and log-variance `(B, D)` of the product of a set's experts, whose encoders are run."""
    return multiply_experts([expert(model, x, m) for m, here in enumerate(members) if here], prior)


def multiply_experts(experts: Sequence[tuple[Tensor, Tensor]], prior: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and log-variance `(B, D)` of the product of Gaussians, the standard normal prior one of them or not."""
    mean, precision = torch.zeros(()), torch.tensor(float(prior))
    for each, log_variance in experts:
        precision = precision + (-log_variance).exp()
        mean = mean + each * (-log_variance).exp()
    return mean / precision, -precision.log()


def kl(mean: Tensor, log_variance: Tensor, to_mean: Tensor | float = 0.0, to: Tensor | None = None) -> Tensor:
    """KL divergence `(B,)` of a Gaussian from another one, by default the standard normal."""
    to = torch.zeros_like(mean) if to is None else to
    squares = (log_variance.exp() + (mean - to_mean).square()) / to.exp()
    return (squares - 1 + to - log_variance).sum(-1) / 2


def rec(model: Any, x: Rows, z: Tensor, members: Sequence[bool] | None = None) -> Tensor:
    """Returns the weighted -log p(x | z) of codes, `(B,)`, over all modalities or those of a set."""
    total = model.weight.new_zeros(len(z))
    for m, (name, modality) in enumerate(model.schema.items()):
        if members is None or members[m]:
            total = total + model.weight[m] * modality.nll(model.decoders[m](z), x[name])
    return total
