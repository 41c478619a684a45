"""Batched computation of networks with the same architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from polymodal.networks.cpu.chain import apply_fused, has_hooks, layers_of
from polymodal.networks.cpu.linear import LINEAR, affine
from polymodal.networks.one_hot import OneHot

__all__ = ["architecture", "run_networks"]

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


def run_networks(networks: Sequence[nn.Module], inputs: Sequence[Tensor]) -> Tensor:
    """Computes G networks of the same architecture, or a single network of any architecture.

    Arguments:
        networks: G networks with equal `architecture`.
        inputs: Input of each network, `(N, *)`. If all are the same object, it is read once.

    Returns:
        `(G, N, *)`.

    Example:
        >>> two = [nn.Sequential(nn.Linear(2, 3), nn.ReLU()) for _ in range(2)]
        >>> x = torch.rand(2, 5, 2)
        >>> torch.allclose(run_networks(two, x.unbind()), torch.stack([two[0](x[0]), two[1](x[1])]))
        True
    """
    if len(networks) == 1:
        return apply_fused(networks[0], inputs[0])[None]
    same = all(x is inputs[0] for x in inputs)
    return run_stacked(networks, inputs[0].expand(len(inputs), *inputs[0].shape) if same else torch.stack([*inputs]))


def run_stacked(networks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Computes G networks of the same architecture on inputs `(G, N, *)`; returns `(G, N, out)`."""
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
