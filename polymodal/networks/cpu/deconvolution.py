"""Fast transposed convolutions on a CPU; they dominate the cost of decoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.networks.cpu.chain import Gradients, Link, apply_fused
from polymodal.networks.cpu.linear import affine, inner, outer

__all__ = ["Deconvolution"]

NARROW = 8
"""Number of output channels below which a matrix product is faster than PyTorch's kernels."""

PIECE = 2**22
"""Number of elements that one matrix product computes at once, so that they fit in the CPU's cache."""

Sizes = Sequence[int]


class Deconvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with the same weights and results, but faster on a CPU.

    With many output channels it uses PyTorch's kernels on channels-last tensors and adds the bias afterwards: the
    gradient of the bias makes PyTorch's backward pass up to four times slower. With few output channels, as in the last
    layer of an image decoder, and for sequences (tensors of width 1), a matrix product computes the results of all
    kernel taps, which are then added at their output positions. On a GPU, in lower precision and in a compiled graph,
    it is PyTorch's layer.

    Example:
        >>> layer = Deconvolution(4, 2, 3, stride=2, padding=1)
        >>> layer(torch.zeros(5, 4, 7, 7)).shape
        torch.Size([5, 2, 13, 13])
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Maps `(N, in_channels, h, w)` to `(N, out_channels, H, W)`."""
        if output_size is not None or input.dim() != 4:
            return super().forward(input, output_size)
        return apply_fused(self, input, super().forward)

    def link(self) -> Transposed | None:
        """Returns the link of the layer, or None if `Transposed` does not support its arguments."""
        usual = self.groups == 1 and self.dilation == (1, 1) and self.bias is not None
        return Transposed(self) if usual else None


class Transposed(Link):
    """The link of a transposed convolution of values `(N, C, h, w)`.

    Arguments:
        layer: Layer with one group, a bias, and no dilation.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        assert layer.bias is not None
        self.parameters = layer.weight, layer.bias
        self.kernel, self.stride = cast("Sizes", layer.kernel_size), cast("Sizes", layer.stride)
        self.padding, self.more = cast("Sizes", layer.padding), cast("Sizes", layer.output_padding)

    def forward(self, x: Tensor, *, mine: bool) -> Tensor:
        """Returns `(N, out, H, W)`.

        The order in memory is `(out, N, H, W)` with few output channels, and channels last otherwise.
        """
        weight, bias = self.parameters
        if self._over_time(x):
            return self._sequence(x)
        if weight.shape[1] < NARROW:
            return self._narrow(_last(x))
        y = F.conv_transpose2d(_last(x), weight, None, self.stride, self.padding, self.more)  # pyright: ignore[reportArgumentType]
        return y.add_(bias[:, None, None])

    def backward(self, x: Tensor, y: Tensor, g: Tensor, *, mine: bool, asked: Sequence[bool]) -> Gradients:
        """Computes gradients with PyTorch's kernels, except for sequences.

        The gradient of the bias is computed separately, because the kernels are faster without it.
        """
        if self._over_time(x):
            return self._sequence_backward(x, g, asked)
        g = _last(g)
        arguments = None, self.stride, self.padding, [1, 1], True, self.more, 1, [*asked[:2], False]
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(g, _last(x), self.parameters[0], *arguments)
        return of_x, of_weight, g.sum((0, 2, 3)) if asked[2] else None

    def _over_time(self, x: Tensor) -> bool:
        """Whether values have width 1 and the output has the kernel's width.

        The columns of the kernel then act as additional channels.
        """
        return x.shape[3] == 1 and self._size(x)[1] == self.kernel[1] and self.padding[1] == 0

    def _narrow(self, x: Tensor) -> Tensor:
        (weight, bias), (n, _, *inside), size = self.parameters, x.shape, self._size(x)
        matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (k k out, C)
        y = bias[:, None, None, None].repeat(1, n, *size)  # (out, N, H, W)
        joins = [list(_joins(*axis)) for axis in zip(inside, size, self.kernel, self.stride, self.padding, strict=True)]
        for piece in _pieces(n, len(matrix) * prod(inside)):
            rows = x[piece].permute(0, 2, 3, 1).flatten(0, 2)  # (N h w, C)
            taps = inner(matrix, rows).view(*self.kernel, len(bias), -1, *inside)
            for (a, to_rows, of_rows), (b, to_columns, of_columns) in product(*joins):
                y[:, piece, to_rows, to_columns] += taps[a, b, :, :, of_rows, of_columns]
        return y.transpose(0, 1)

    def _sequence(self, x: Tensor) -> Tensor:
        (weight, bias), (length, columns) = self.parameters, self._size(x)
        rows, matrix = x.squeeze(3).mT, self._matrix(weight)  # (N, h, C)
        y = bias.repeat_interleave(columns).repeat(len(x), length, 1)
        for piece in _pieces(len(x), matrix[..., 0].numel() * rows.shape[1]):
            taps = affine(rows[piece], matrix.flatten(0, 1)).unflatten(2, matrix.shape[:2])  # (N, h, k, out)
            for tap, to, of in self._taps(rows, length):
                y[piece, to] += taps[:, of, tap]
        return y.view(len(x), length, len(bias), columns).transpose(1, 2)

    def _sequence_backward(self, x: Tensor, g: Tensor, asked: Sequence[bool]) -> Gradients:
        """Computes the gradients of `_sequence`."""
        rows, matrix = x.squeeze(3).mT, self._matrix(self.parameters[0])
        g = g.transpose(1, 2)  # (N, H, out, columns)
        of_bias = g.sum((0, 1, 3)) if asked[2] else None
        g = g.flatten(2)
        of_rows, of_matrix = torch.empty_like(rows), torch.zeros_like(matrix).flatten(0, 1)
        for piece in _pieces(len(x), matrix[..., 0].numel() * rows.shape[1]):
            taps = x.new_zeros(*rows[piece].shape[:2], *matrix.shape[:2])
            for tap, to, of in self._taps(rows, g.shape[1]):
                taps[:, of, tap] = g[piece, to]
            taps = taps.flatten(0, 1).flatten(1)  # (N h, k out)
            if asked[0]:
                of_rows[piece] = inner(taps, matrix.flatten(0, 1).T).view_as(of_rows[piece])
            if asked[1]:
                of_matrix += outer(taps, rows[piece].flatten(0, 1))
        of_weight = of_matrix.view(self.kernel[0], -1, self.kernel[1], matrix.shape[-1]).permute(3, 1, 0, 2)
        return of_rows.mT.unsqueeze(3) if asked[0] else None, of_weight if asked[1] else None, of_bias

    def _matrix(self, weight: Tensor) -> Tensor:
        """Returns the matrices of the kernel's rows, `(k, out columns, C)`."""
        return weight.permute(2, 1, 3, 0).flatten(1, 2)

    def _taps(self, rows: Tensor, length: int) -> list[tuple[int, slice, slice]]:
        return list(_joins(rows.shape[1], length, self.kernel[0], self.stride[0], self.padding[0]))

    def _size(self, x: Tensor) -> tuple[int, ...]:
        """Returns the height and the width of the output."""
        axes = zip(x.shape[2:], self.kernel, self.stride, self.padding, self.more, strict=True)
        return tuple((n - 1) * s - 2 * p + k + extra for n, k, s, p, extra in axes)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _pieces(rows: int, numbers: int) -> Iterator[slice]:
    """Splits rows with `numbers` elements each into chunks of at most PIECE elements, at least one row each."""
    step = max(1, PIECE // numbers)
    return (slice(start, start + step) for start in range(0, rows, step))


def _joins(n: int, size: int, kernel: int, stride: int, padding: int) -> Iterator[tuple[int, slice, slice]]:
    """Yields, along one axis, each kernel tap with the slices of the output and the input that it connects."""
    for tap in range(kernel):
        shift = tap - padding
        first, last = max(0, -(shift // stride)), min(n, (size - 1 - shift) // stride + 1)
        if first < last:
            yield tap, slice(stride * first + shift, stride * (last - 1) + shift + 1, stride), slice(first, last)
