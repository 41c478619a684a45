"""Sums whose gradients are computed chunk by chunk, so that memory does not grow with the number of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from polymodal.networks.evaluating import evaluating
from polymodal.runtime.memory import count_saved_bytes, measure_free_memory

__all__ = ["Capacity", "Chunk", "sum_chunks"]

Chunk = tuple[slice, slice]
"""Slices of the K passes and of the B rows."""


class Capacity:
    """The number of codes that decoders can process at once, measured when it is first needed."""

    def __init__(self) -> None:
        self.known = 0
        """A number of codes that fits in memory."""
        self.bytes: dict[torch.dtype, float] = {}
        """Bytes that the decoders' backward pass needs per code."""

    def count_codes(self, z: Tensor, decoders: nn.Module, decode: Callable[[Tensor], object]) -> int:
        """Returns the number of codes whose backward pass needs at most half of the free memory, at least 1.

        Arguments:
            z: Codes, `(K, B, D)`. If it is known that all of them fit, memory is not measured again.
            decoders: The decoders.
            decode: Function of codes `(N, D)` that runs them.
        """
        codes = z.shape[0] * z.shape[1]
        if codes <= self.known:
            return codes
        if z.dtype not in self.bytes:
            probe = z.detach().new_zeros(4, z.shape[-1])
            with torch.enable_grad(), evaluating(decoders):
                few, more = (count_saved_bytes(partial(decode, probe[:n])) for n in (2, 4))
            self.bytes[z.dtype] = max(1, (more - few) / 2)
        most = int(measure_free_memory(z.device) / 2 // self.bytes[z.dtype])
        self.known = codes if codes <= most else self.known
        return max(1, most)


def sum_chunks(
    function: Callable[[Tensor, Chunk], Tensor], z: Tensor, parameters: Iterable[Tensor], most: int
) -> Tensor:
    """Computes the sum of a function over chunks of codes, with the gradients of a single backward pass.

    The gradients of each chunk are computed in the forward pass, and the memory for its backward pass is then freed.

    Arguments:
        function: Function of a chunk of z and its slices that returns a scalar. It uses no other tensors that require
            gradients than `parameters`.
        z: Codes, `(K, B, D)`.
        parameters: All parameters that the function uses.
        most: Maximum number of codes in a chunk.

    Returns:
        A scalar.

    Example:
        >>> w = torch.ones(3, requires_grad=True)
        >>> z = torch.arange(24.0).view(4, 2, 3).requires_grad_()
        >>> sum_chunks(lambda part, chunk: (part * w).sum(), z, [w], most=3).backward()
        >>> w.grad, z.grad.sum()
        (tensor([ 84.,  92., 100.]), tensor(24.))
    """
    parameters = [p for p in parameters if p.requires_grad]
    draws, rows, _ = z.shape
    chunks = split_codes(draws, rows, most)
    if not torch.is_grad_enabled():
        return torch.stack([function(z[chunk], chunk) for chunk in chunks]).sum()
    return Summed.apply(function, chunks, z, *parameters)  # pyright: ignore[reportReturnType]


def split_codes(draws: int, rows: int, most: int) -> list[Chunk]:
    """Splits K passes of B rows into chunks of at most `most` codes: several complete passes, or parts of one.

    Example:
        >>> split_codes(3, 10, 25), split_codes(1, 10, 6)
        ([(slice(0, 2, None), slice(0, 10, None)), (slice(2, 3, None), slice(0, 10, None))],
         [(slice(0, 1, None), slice(0, 6, None)), (slice(0, 1, None), slice(6, 10, None))])
    """
    passes = _slices(draws, max(1, most // rows))
    return list(product(passes, list(_slices(rows, max(1, min(most, rows))))))


class Summed(torch.autograd.Function):
    """The autograd function of `sum_chunks`."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], chunks: Sequence[Chunk], *tensors: Tensor) -> Tensor:
        """Computes the sum, and saves its gradients."""
        z, *parameters = tensors
        total = z.new_zeros(())
        of_z, of_parameters = torch.zeros_like(z), [None] * len(parameters)
        for chunk in chunks:
            with torch.enable_grad():
                part = z[chunk].detach().requires_grad_()
                value = function(part, chunk)
            total += value.detach()
            of_part, *rest = torch.autograd.grad(value, [part, *parameters], allow_unused=True)
            of_z[chunk] += of_part
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
