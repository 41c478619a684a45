"""Sums whose gradients are computed chunk by chunk, so that memory does not grow with the number of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Piece", "cut", "sum_chunks"]

Piece = tuple[slice, slice]


def sum_chunks(
    function: Callable[[Tensor, Piece], Tensor], z: Tensor, parameters: Iterable[Tensor], pieces: Sequence[Piece]
) -> Tensor:
    """Computes the sum of a function over chunks of codes, with the gradients of a single backward pass.

    The gradients of each chunk are computed in the forward pass, and the memory for its backward pass is then freed.

    Arguments:
        function: Function of a chunk of z and its slices that returns a scalar. It uses no other tensors that require
            gradients than `parameters`.
        z: Codes, `(K, B, D)`.
        parameters: All parameters that the function uses.
        pieces: Slices of K and of B, one pair for each chunk.

    Returns:
        A scalar.

    Example:
        >>> w = torch.ones(3, requires_grad=True)
        >>> z = torch.arange(24.0).view(4, 2, 3).requires_grad_()
        >>> sum_chunks(lambda part, piece: (part * w).sum(), z, [w], cut(4, 2, 3)).backward()
        >>> w.grad, z.grad.sum()
        (tensor([ 84.,  92., 100.]), tensor(24.))
    """
    parameters = [p for p in parameters if p.requires_grad]
    if not torch.is_grad_enabled():
        return torch.stack([function(z[piece], piece) for piece in pieces]).sum()
    return Summed.apply(function, pieces, z, *parameters)  # pyright: ignore[reportReturnType]


def cut(draws: int, rows: int, most: int) -> list[Piece]:
    """Splits K passes of B rows into chunks of at most `most` codes: several complete passes, or parts of one.

    Example:
        >>> cut(3, 10, 25), cut(1, 10, 6)
        ([(slice(0, 2, None), slice(0, 10, None)), (slice(2, 3, None), slice(0, 10, None))],
         [(slice(0, 1, None), slice(0, 6, None)), (slice(0, 1, None), slice(6, 10, None))])
    """
    passes = _slices(draws, max(1, most // rows))
    return list(product(passes, list(_slices(rows, max(1, min(most, rows))))))


class Summed(torch.autograd.Function):
    """The autograd function of `sum_chunks`."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], pieces: Sequence[Piece], *tensors: Tensor) -> Tensor:
        """Computes the sum, and saves its gradients."""
        z, *parameters = tensors
        total = z.new_zeros(())
        of_z, of_parameters = torch.zeros_like(z), [None] * len(parameters)
        for piece in pieces:
            with torch.enable_grad():
                part = z[piece].detach().requires_grad_()
                value = function(part, piece)
            total += value.detach()
            of_part, *rest = torch.autograd.grad(value, [part, *parameters], allow_unused=True)
            of_z[piece] += of_part
            of_parameters = [_accumulate(kept, new) for kept, new in zip(of_parameters, rest, strict=True)]
        ctx.save_for_backward(of_z, *of_parameters)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the saved gradients, times the gradient of the sum."""
        return None, None, *(None if kept is None else kept * grad_outputs[0] for kept in ctx.saved_tensors)


def _accumulate(kept: Tensor | None, new: Tensor | None) -> Tensor | None:
    """Adds `new` to `kept` in place and returns the sum; None counts as zero."""
    return new if kept is None else kept if new is None else kept.add_(new)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
