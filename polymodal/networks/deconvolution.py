"""Transposed convolutions, the decoders' costliest part, as fast as a CPU has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from polymodal.networks.linear import affine, inner, outer

__all__ = ["Deconvolution"]

NARROW = 8
"""Output channels below which a matrix product beats PyTorch's own kernels."""

PIECE = 2**20
"""Numbers that a matrix product makes in one go: what a processor's cache holds."""

Sizes = Sequence[int]


class Deconvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, of the same weights and results, in the order of work that is fastest on a CPU.

    With many output channels it is PyTorch's own on channels-last values, and the bias is added afterwards: the
    gradient of a bias makes its backward pass up to four times slower. With few of them, as in a picture's last
    layer, and on sequences (values of width 1), a matrix product makes the results of all the kernel's taps, which
    are added to where they belong. On a GPU, in lower precision and in a compiled graph it is PyTorch's own as it
    stands.

    Example:
        >>> layer = Deconvolution(4, 2, 3, stride=2, padding=1)
        >>> layer(torch.zeros(5, 4, 7, 7)).shape
        torch.Size([5, 2, 13, 13])
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`(N, in_channels, h, w)` to `(N, out_channels, H, W)`."""
        if not self._plain(input, output_size):
            return super().forward(input, output_size)
        assert self.bias is not None
        x = input.contiguous(memory_format=torch.channels_last)
        if x.shape[3] == 1 and self._size(x)[1] == self.kernel_size[1] and self.padding[1] == 0:
            return self._sequence(x, self.bias)
        if self.out_channels < NARROW:
            return Narrow.apply(x, self.weight, self.bias, self.stride, self.padding, self.output_padding)
        y = F.conv_transpose2d(x, self.weight, None, self.stride, self.padding, self.output_padding)  # pyright: ignore[reportArgumentType]
        return y.add_(self.bias[:, None, None])

    def _plain(self, x: Tensor, output_size: list[int] | None) -> bool:
        """Whether it is a case that is written out here."""
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return False
        usual = self.groups == 1 and self.dilation == (1, 1) and self.bias is not None
        return usual and output_size is None and x.dim() == 4 and len(x) > 0

    def _sequence(self, x: Tensor, bias: Tensor) -> Tensor:
        """Of width 1, to the width of the kernel: the kernel's columns are so many channels more."""
        columns, length = self.kernel_size[1], self._size(x)[0]
        weight = self.weight.permute(2, 1, 3, 0).flatten(1, 2)  # (k, out * columns, C)
        rows = x.squeeze(3).mT  # (N, h, C)
        y = OverTime.apply(rows, weight, bias.repeat_interleave(columns), self.stride[0], self.padding[0], length)
        return y.view(len(x), length, self.out_channels, columns).transpose(1, 2)

    def _size(self, x: Tensor) -> tuple[int, ...]:
        padding = cast("tuple[int, ...]", self.padding)
        return _grown(x.shape[2:], self.kernel_size, self.stride, padding, self.output_padding)


class Narrow(torch.autograd.Function):
    """A transposed convolution of pictures to few channels: forwards a matrix product, backwards PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *options: Sizes) -> Tensor:
        """`(N, C, h, w)` in channels-last order to `(N, out, H, W)`, in memory `(out, N, H, W)`."""
        ctx.save_for_backward(x, weight)
        ctx.options = options
        (n, _, *inside), (_, out, *kernel), (stride, padding, more) = x.shape, weight.shape, options
        matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (k k out, C)
        size = _grown(inside, kernel, stride, padding, more)
        y = bias[:, None, None, None].repeat(1, n, *size)  # (out, N, H, W)
        joins = [list(_joins(*axis)) for axis in zip(inside, size, kernel, stride, padding, strict=True)]
        for piece in _pieces(n, len(matrix) * prod(inside)):
            rows = x[piece].permute(0, 2, 3, 1).flatten(0, 2)  # (N h w, C)
            taps = inner(matrix, rows).view(*kernel, out, -1, *inside)
            for (a, to_rows, of_rows), (b, to_columns, of_columns) in product(*joins):
                y[:, piece, to_rows, to_columns] += taps[a, b, :, :, of_rows, of_columns]
        return y.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of the bias apart from the others, which are quicker without."""
        (x, weight), (stride, padding, more) = ctx.saved_tensors, ctx.options
        g = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        arguments = (None, stride, padding, [1, 1], True, more, 1, [True, True, False])
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(g, x, weight, *arguments)
        return of_x, of_weight, g.sum((0, 2, 3)), None, None, None


class OverTime(torch.autograd.Function):
    """A transposed convolution of sequences by matrix products, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *options: int) -> Tensor:
        """`(N, h, C)` and `(k, out, C)` to `(N, H, out)`."""
        stride, padding, length = options
        ctx.save_for_backward(x, weight)
        ctx.joins = list(_joins(x.shape[1], length, len(weight), stride, padding))
        y = bias.repeat(len(x), length, 1)
        for piece in _pieces(len(x), weight[..., 0].numel() * x.shape[1]):
            taps = affine(x[piece], weight.flatten(0, 1)).unflatten(2, weight.shape[:2])  # (N, h, k, out)
            for tap, to, of in ctx.joins:
                y[piece, to] += taps[:, of, tap]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same taken apart again."""
        (x, weight), (g,) = ctx.saved_tensors, grad_outputs
        of_x, of_weight = torch.empty_like(x), torch.zeros_like(weight).flatten(0, 1)
        for piece in _pieces(len(x), weight[..., 0].numel() * x.shape[1]):
            taps = x.new_zeros(*x[piece].shape[:2], *weight.shape[:2])
            for tap, to, of in ctx.joins:
                taps[:, of, tap] = g[piece, to]
            taps = taps.flatten(0, 1).flatten(1)  # (N h, k out)
            of_x[piece] = inner(taps, weight.flatten(0, 1).T).view_as(of_x[piece])
            of_weight += outer(taps, x[piece].flatten(0, 1))
        return of_x, of_weight.view_as(weight), g.sum((0, 1)), None, None, None


def _grown(inside: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, more: Sizes) -> tuple[int, ...]:
    """The size of the result."""
    axes = zip(inside, kernel, stride, padding, more, strict=True)
    return tuple((n - 1) * s - 2 * p + k + extra for n, k, s, p, extra in axes)


def _pieces(rows: int, numbers: int) -> Iterator[slice]:
    """Of so many rows, each of which takes so many numbers."""
    step = max(1, PIECE // numbers)
    return (slice(start, start + step) for start in range(0, rows, step))


def _joins(n: int, size: int, kernel: int, stride: int, padding: int) -> Iterator[tuple[int, slice, slice]]:
    """Along one axis: the kernel's taps, and the slices of the larger and of the smaller side that each joins."""
    for tap in range(kernel):
        shift = tap - padding
        first, last = max(0, -(shift // stride)), min(n, (size - 1 - shift) // stride + 1)
        if first < last:
            yield tap, slice(stride * first + shift, stride * (last - 1) + shift + 1, stride), slice(first, last)
