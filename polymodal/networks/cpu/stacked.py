"""Batched computation of networks with the same architecture.

Networks of labels may differ in the number of classes. Their weights are then padded with zeros to the largest number,
and the scores of the added classes are -inf, so that these have probability 0 and change no gradient.

The parameters of an ensemble begin with an axis of its n members, and so do the outputs. Inputs may begin with it;
otherwise they are the same for all members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from polymodal.networks.cpu.chain import apply_fused, has_hooks, layers_of
from polymodal.networks.cpu.linear import LINEAR, affine
from polymodal.networks.cpu.weight_stacks import find_stack, stack_weights
from polymodal.networks.one_hot import OneHot, encode_one_hot

__all__ = [
    "architecture",
    "count_classes",
    "have_members",
    "list_weights",
    "multiply_members",
    "run_networks",
    "run_stacked",
]

ELEMENTWISE = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Identity, OneHot)
"""Types of layers without weights that also accept an additional batch axis."""


def architecture(network: nn.Module, *, scores: bool = False) -> tuple[object, ...] | None:
    """Returns a description that is equal for networks that can be computed together, or None.

    It supports fully connected networks only: grouped convolutions are not faster than separate ones. The number of
    classes of one-hot vectors is not part of the description.

    Arguments:
        network: A network.
        scores: Whether the outputs are scores of classes. Their number is then not part of the description either, if
            the network has several layers.

    Example:
        >>> architecture(nn.Sequential(nn.Linear(2, 3), nn.ReLU())) == architecture(nn.Linear(2, 3))
        False
        >>> three, four = (nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, classes)) for classes in (3, 4))
        >>> architecture(three, scores=True) == architecture(four, scores=True)
        True
        >>> architecture(nn.Conv2d(1, 1, 3)) is None
        True
    """
    layers = layers_of(network)
    if has_hooks(network) or not all(type(layer) in LINEAR or type(layer) in ELEMENTWISE for layer in layers):
        return None
    described: list[object] = [repr(layer) for layer in layers]
    if type(layers[0]) is OneHot and len(layers) > 1 and type(layers[1]) in LINEAR:
        first = cast("nn.Linear", layers[1])
        described[:2] = [OneHot, (type(first), first.out_features, first.bias is not None)]
    if scores and len(layers) > 1 and type(layers[-1]) in LINEAR and layers[-1].bias is not None:
        described[-1] = (type(layers[-1]), layers[-1].in_features)
    return tuple(described)


def count_classes(network: nn.Module) -> int:
    """Returns the number of classes of a label's encoder or decoder; 0 for other networks."""
    layers = layers_of(network)
    classes = layers[0].classes if type(layers[0]) is OneHot else getattr(layers[-1], "out_features", 0)
    return cast("int", classes)


def list_weights(networks: Sequence[nn.Module]) -> list[Tensor]:
    """Returns the tensors for which `run_networks` computes gradients: parameters, or the tensors that hold them."""
    parameters = zip(*(network.parameters() for network in networks), strict=True)
    stacks = [(some, find_stack(some) if len(networks) > 1 else None) for some in parameters]
    return [p for some, stack in stacks for p in (some if stack is None else [stack])]


def run_networks(networks: Sequence[nn.Module], inputs: Sequence[Tensor]) -> Tensor:
    """Computes G networks of the same architecture, or a single network of any architecture.

    Arguments:
        networks: G networks with equal `architecture`.
        inputs: Input of each network, `(N, *)`, or `(n, N, D)` for n members. If all are the same object, it is read
            once.

    Returns:
        `(G, N, *)`, or `(n, G, N, out)` for n members. If the networks have different numbers of classes, further
        scores are -inf.

    Example:
        >>> two = [nn.Sequential(nn.Linear(2, 3), nn.ReLU()) for _ in range(2)]
        >>> x = torch.rand(2, 5, 2)
        >>> torch.allclose(run_networks(two, x.unbind()), torch.stack([two[0](x[0]), two[1](x[1])]))
        True
    """
    members = have_members(networks[0])
    if len(networks) == 1 and not members:
        return apply_fused(networks[0], inputs[0])[None]
    x = inputs[0]
    axis = 1 if members and x.dim() > 2 else 0
    if any(other is not x for other in inputs):
        return run_stacked(networks, torch.stack([*inputs], axis))
    return run_stacked(networks, x.unsqueeze(axis).expand(*x.shape[:axis], len(inputs), *x.shape[axis:]))


def have_members(network: nn.Module) -> bool:
    """Returns whether the parameters of a fully connected network begin with an axis of members."""
    return any(type(layer) in LINEAR and cast("nn.Linear", layer).weight.dim() > 2 for layer in layers_of(network))


def run_stacked(networks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Computes G networks of the same architecture.

    Arguments:
        networks: G networks with equal `architecture`.
        x: Inputs, `(G, N, *)`, or `(n, G, N, in)` for n members.

    Returns:
        `(G, N, out)`, or `(n, G, N, out)` for n members.
    """
    for layers in zip(*map(layers_of, networks), strict=True):
        if type(layers[0]) in LINEAR:
            x = _run_linear(cast("tuple[nn.Linear, ...]", layers), x)
        elif type(layers[0]) is OneHot:
            x = encode_one_hot(x, max(layer.classes for layer in layers), layers[0].like.dtype)
        else:
            x = layers[0](x)
    return x


def _run_linear(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    axis = layers[0].weight.dim() - 2
    weight = stack_weights([layer.weight for layer in layers], axis)  # (G, out, in) or (n, G, out, in)
    if layers[0].bias is None:
        return x @ weight.mT
    bias = stack_weights([layer.bias for layer in layers], axis)
    sizes = [layer.out_features for layer in layers]
    if min(sizes) < max(sizes):
        # A comparison for each number instead of one with all of them, which would be copied to a GPU and synchronise.
        classes = torch.arange(max(sizes), device=bias.device)
        bias = bias.masked_fill(torch.stack([classes >= size for size in sizes]), -torch.inf)
    if axis:
        return multiply_members(x, weight, bias)
    if x.stride(0) == 0:  # all networks have the same input
        x = affine(x[0], weight.flatten(0, 1), bias.flatten())
        return x.unflatten(1, weight.shape[:2]).transpose(0, 1)
    return torch.baddbmm(bias[:, None], x, weight.mT)


def multiply_members(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Computes linear layers of n members, `x @ weight.mT + bias`.

    Arguments:
        x: Inputs, `(n, *, N, in)`, or without the first axes, if they are the same there.
        weight: Weights, `(n, *, out, in)`.
        bias: Biases, `(n, *, out)`.

    Returns:
        `(n, *, N, out)`.

    Example:
        >>> multiply_members(torch.ones(2, 3), torch.ones(5, 4, 3), torch.zeros(5, 4)).shape
        torch.Size([5, 2, 4])
    """
    x = x.expand(*weight.shape[:-2], *x.shape[-2:]).flatten(0, -3)
    y = torch.baddbmm(bias.flatten(0, -2)[:, None], x, weight.flatten(0, -3).mT)
    return y.unflatten(0, weight.shape[:-2])
