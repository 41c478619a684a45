"""Fully connected networks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from polymodal.networks.cpu.linear import Linear

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["mlp"]


def mlp(features: int, hidden: Sequence[int], out: int, *, dropout: float = 0.0) -> nn.Sequential:
    """Builds linear layers with ReLUs between them; the last layer is linear.

    Arguments:
        features: Size of the input, `(N, features)`.
        hidden: Sizes of the hidden layers; empty for a single linear layer.
        out: Size of the output, `(N, out)`.
        dropout: Dropout probability of the hidden units.

    Example:
        >>> import torch
        >>> mlp(3, [8, 8], 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    first, *after = pairwise([features, *hidden, out])
    layers: list[nn.Module] = [Linear(*first)]
    for a, b in after:
        layers += [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else []), Linear(a, b)]
    return nn.Sequential(*layers)
