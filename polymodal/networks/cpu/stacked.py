"""Networks of one architecture, computed as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from polymodal.networks.cpu.chain import layers_of, watched
from polymodal.networks.cpu.linear import LINEAR, affine
from polymodal.networks.one_hot import OneHot

__all__ = ["architecture", "together"]

ELEMENTWISE = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Identity, OneHot)
"""Layers without weights that do the same to an axis more."""


def architecture(network: nn.Module) -> tuple[str, ...] | None:
    """What networks that can be computed together have in common; None of one that is computed by itself.

    Those are fully connected ones. Convolutions of several modalities are not faster as grouped ones.

    Example:
        >>> architecture(nn.Sequential(nn.Linear(2, 3), nn.ReLU())) == architecture(nn.Linear(2, 3))
        False
        >>> architecture(nn.Conv2d(1, 1, 3)) is None
        True
    """
    layers = layers_of(network)
    known = all(type(layer) in LINEAR or type(layer) in ELEMENTWISE for layer in layers)
    return tuple(map(repr, layers)) if known and not watched(network) else None


def together(networks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """The outputs `(G, N, out)` of G networks of one architecture.

    Arguments:
        networks: Of equal `architecture`.
        x: The inputs of each, `(G, N, *)`.

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
        elif x.stride(0) == 0:  # one input for all
            bias = torch.cat([layer.bias for layer in linear])
            x = affine(x[0], weight.flatten(0, 1), bias).unflatten(1, weight.shape[:2]).transpose(0, 1)
        else:
            x = torch.baddbmm(torch.stack([layer.bias for layer in linear])[:, None], x, weight.mT)
    return x
