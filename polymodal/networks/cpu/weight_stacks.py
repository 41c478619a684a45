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
Index = tuple[int | slice, ...]


class WeightStack:
    """One tensor with a parameter of each of G networks, `(G, *shape)`; smaller parameters are padded with zeros.

    The parameters of an ensemble begin with an axis of its n members. It is the first one of the tensor, too:
    `(n, G, *shape)`.

    Gradients belong to `tensor`, which an optimiser updates in place of the parameters.

    Arguments:
        parameters: One parameter of each network, with equally many axes.
        axis: Axis of the networks in the tensor: 1 if the parameters begin with an axis of members, otherwise 0.

    Attributes:
        tensor: The tensor, a parameter of its own.

    Example:
        >>> layers = [nn.Linear(2, 1), nn.Linear(2, 3)]
        >>> stack = WeightStack([layer.weight for layer in layers])
        >>> stack.tensor.shape, stack_weights([layer.weight for layer in layers]) is stack.tensor
        (torch.Size([2, 3, 2]), True)
        >>> stack.release()
    """

    def __init__(self, parameters: Sequence[nn.Parameter], axis: int = 0) -> None:
        self.parameters, self.axis = list(parameters), axis
        self.tensor = nn.Parameter(self.join([p.detach() for p in parameters]))
        for place, (p, view) in enumerate(zip(self.parameters, self.split(self.tensor.data), strict=True)):
            p.data = view
            setattr(p, PLACE, (self, place))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns a tensor like `tensor` with the part of each parameter."""
        return _pad_and_stack(parts, self.axis)

    def split(self, tensor: Tensor) -> list[Tensor]:
        """Returns the part of each parameter in a tensor like `tensor`, as views."""
        return [tensor[_insert(place, p.shape, self.axis)] for place, p in enumerate(self.parameters)]

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
    return stack.tensor[_insert(slice(first, first + len(parameters)), _largest(parameters), stack.axis)]


def stack_weights(parameters: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Returns parameters as one tensor `(G, *shape)`; smaller ones are padded with zeros.

    Arguments:
        parameters: One parameter of each network, with equally many axes.
        axis: Axis of the networks in the result, see `WeightStack`.

    Example:
        >>> stack_weights([torch.ones(1), torch.ones(2)])
        tensor([[1., 0.],
                [1., 1.]])
    """
    stack = find_stack(parameters)
    return _pad_and_stack(parameters, axis) if stack is None else stack


def _pad_and_stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    if all(part.shape == parts[0].shape for part in parts):
        return torch.stack([*parts], axis)
    size = _largest(parts)
    missing = [[(0, most - own) for most, own in zip(size, part.shape, strict=True)] for part in parts]
    padded = [
        F.pad(part, [n for pair in reversed(own) for n in pair]) for part, own in zip(parts, missing, strict=True)
    ]
    return torch.stack(padded, axis)


def _insert(place: int | slice, shape: Sequence[int], axis: int) -> Index:
    """Returns the index of parameters of a shape at a place on an axis of a stack."""
    parts = [*map(slice, shape)]
    return (*parts[:axis], place, *parts[axis:])


def _largest(parameters: Sequence[Tensor]) -> list[int]:
    return [max(sizes) for sizes in zip(*(p.shape for p in parameters), strict=True)]
