"""Parameters of several networks in one tensor, so that a training step reads, differentiates and updates few tensors.

The parameters of the networks remain, and are views of the tensor. Names and shapes in `state_dict` are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WeightStack", "find_stack", "stack_weights"]

PLACE = "_polymodal_place"
"""Attribute of a parameter: the `WeightStack` that holds it, and its number there."""


class WeightStack:
    """One tensor with a parameter of each of G networks, `(G, *shape)`; smaller parameters are padded with zeros.

    Gradients belong to `tensor`, which an optimiser updates in place of the parameters.

    Arguments:
        parameters: One parameter of each network, with equally many axes.

    Attributes:
        tensor: The tensor, a parameter of its own.

    Example:
        >>> layers = [nn.Linear(2, 1), nn.Linear(2, 3)]
        >>> stack = WeightStack([layer.weight for layer in layers])
        >>> stack.tensor.shape, stack_weights([layer.weight for layer in layers]) is stack.tensor
        (torch.Size([2, 3, 2]), True)
        >>> stack.release()
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.tensor = nn.Parameter(parameters[0].detach().new_zeros(len(parameters), *_largest(parameters)))
        for place, (p, view) in enumerate(zip(self.parameters, self.split(self.tensor.data), strict=True)):
            p.data = view.copy_(p.data)
            setattr(p, PLACE, (self, place))

    def split(self, tensor: Tensor) -> list[Tensor]:
        """Returns the part of each parameter in a tensor like `tensor`, as views."""
        return [tensor[(place, *map(slice, p.shape))] for place, p in enumerate(self.parameters)]

    def collect_gradients(self) -> None:
        """Moves gradients that computations with single parameters have left there to the gradient of `tensor`."""
        if all(p.grad is None for p in self.parameters):
            return
        if self.tensor.grad is None:
            self.tensor.grad = torch.zeros_like(self.tensor)
        for p, view in zip(self.parameters, self.split(self.tensor.grad), strict=True):
            if p.grad is not None:
                view += p.grad
                p.grad = None

    def release(self) -> None:
        """Gives each parameter memory of its own again."""
        for p in self.parameters:
            p.data = p.data.clone(memory_format=torch.contiguous_format)
            delattr(p, PLACE)


def find_stack(parameters: Sequence[Tensor]) -> Tensor | None:
    """Returns the tensor, or the part of it, that holds exactly these parameters in their order; None without one."""
    stack, first = getattr(parameters[0], PLACE, (None, 0))
    if stack is None:
        return None
    for number, p in enumerate(parameters, first):
        if getattr(p, PLACE, None) != (stack, number):
            return None
    if len(parameters) == len(stack.parameters):
        return stack.tensor
    return stack.tensor[(slice(first, first + len(parameters)), *map(slice, _largest(parameters)))]


def stack_weights(parameters: Sequence[Tensor]) -> Tensor:
    """Returns parameters as one tensor `(G, *shape)`; smaller ones are padded with zeros.

    Example:
        >>> stack_weights([torch.ones(1), torch.ones(2)])
        tensor([[1., 0.],
                [1., 1.]])
    """
    stack = find_stack(parameters)
    if stack is not None:
        return stack
    if all(p.shape == parameters[0].shape for p in parameters):
        return torch.stack([*parameters])
    size = _largest(parameters)
    missing = [[(0, most - own) for most, own in zip(size, p.shape, strict=True)] for p in parameters]
    padded = [F.pad(p, [n for pair in reversed(own) for n in pair]) for p, own in zip(parameters, missing, strict=True)]
    return torch.stack(padded)


def _largest(parameters: Sequence[Tensor]) -> list[int]:
    return [max(sizes) for sizes in zip(*(p.shape for p in parameters), strict=True)]
