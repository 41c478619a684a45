"""Batched computation of networks with the same architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from polymodal.networks.cpu.chain import has_hooks, layers_of
from polymodal.networks.cpu.linear import LINEAR, affine
from polymodal.networks.one_hot import OneHot

__all__ = ["architecture", "together"]

ELEMENTWISE = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Identity, OneHot)
"""Types of layers without weights that also accept an additional batch axis."""


def architecture(network: nn.Module) -> tuple[str, ...] | None:
    """Returns a description that is equal for networks that can be computed together, or None.

    It supports fully connected networks only: grouped convolutions are not faster than separate ones.

    Example:
        >>> architecture(nn.Sequential(nn.Linear(2, 3), nn.ReLU())) == architecture(nn.Linear(2, 3))
        False
        >>> architecture(nn.Conv2d(1, 1, 3)) is None
        True
    """
    layers = layers_of(network)
    known = all(type(layer) in LINEAR or type(layer) in ELEMENTWISE for layer in layers)
    return tuple(map(repr, layers)) if known and not has_hooks(network) else None


def together(networks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Computes G networks of the same architecture together.

    Arguments:
        networks: G networks with equal `architecture`.
        x: Inputs of each network, `(G, N, *)`.

    Returns:
        `(G, N, out)`.

    Example:
        >>> two = [nn.Sequential(nn.Linear(2, 3), nn.ReLU()) for _ in range(2)]
        >>> x = torch.rand(2, 5, 2)
        >>> torch.allclose(together(two, x), torch.stack([two[0](x[0]), two[1](x[1])]))
        True
    """
    for layers in zip(*map(layers_of, networks), strict=True):
        if type(layers[0]) not in LINEAR:
            x = layers[0](x)
            continue
        linear = cast("tuple[nn.Linear, ...]", layers)
        weight = torch.stack([layer.weight for layer in linear])  # (G, out, in)
        if linear[0].bias is None:
            x = x @ weight.mT
        elif x.stride(0) == 0:  # all networks have the same input
            bias = torch.cat([layer.bias for layer in linear])
            x = affine(x[0], weight.flatten(0, 1), bias).unflatten(1, weight.shape[:2]).transpose(0, 1)
        else:
            x = torch.baddbmm(torch.stack([layer.bias for layer in linear])[:, None], x, weight.mT)
    return x
