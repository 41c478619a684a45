"""Fast matrix products on a CPU, and linear layers based on them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.runtime.vectorizing import is_vectorizing

__all__ = ["LINEAR", "Linear", "affine", "inner", "outer"]

FEWEST = 2**22
"""Minimum number of floating point operations of a matrix product to use oneDNN."""


class Linear(nn.Linear):
    """`nn.Linear` with the same weights and results, computed by oneDNN in single precision on a CPU.

    PyTorch uses MKL instead, which is less than half as fast as oneDNN on AMD processors.

    Example:
        >>> Linear(3, 2)(torch.zeros(5, 4, 3)).shape
        torch.Size([5, 4, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps `(*, in_features)` to `(*, out_features)`."""
        return affine(input, self.weight, self.bias)


LINEAR: tuple[type[nn.Linear], ...] = (nn.Linear, Linear)
"""Types of layers that compute exactly `affine`; subclasses do not count."""


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes `torch.nn.functional.linear`, `x @ weight.mT + bias`: `(*, in)` and `(out, in)` to `(*, out)`."""
    if torch.is_autocast_enabled("cpu") or not _quick(x, weight):
        return F.linear(x, weight, bias)
    return Affine.apply(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], len(weight))  # pyright: ignore[reportOptionalMemberAccess]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Computes `torch.inner`, `a @ b.mT`, for `(n, k)` and `(m, k)`; use it without gradients only.

    Example:
        >>> inner(torch.ones(2, 3), torch.ones(4, 3))[0]
        tensor([3., 3., 3., 3.])
    """
    return _onednn(a, b) if _quick(a, b) else a @ b.mT


class Affine(torch.autograd.Function):
    """The autograd function of `affine` for matrices, `x @ weight.mT + bias`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Maps `(n, in)`, `(out, in)` and `(out)` to `(n, out)`."""
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Computes the requested gradients: two matrix products and a sum."""
        (x, weight), (g,), (of_x, of_weight, of_bias) = ctx.saved_tensors, grad_outputs, ctx.needs_input_grad
        return (
            affine(g, weight.mT) if of_x else None,
            outer(g, x) if of_weight else None,
            g.sum(0) if of_bias else None,
        )


def outer(g: Tensor, x: Tensor) -> Tensor:
    """Computes the sum of the outer products of rows, `g.mT @ x`: `(n, m)` and `(n, k)` to `(m, k)`.

    Example:
        >>> outer(torch.ones(4, 2), torch.ones(4, 3))[0]
        tensor([4., 4., 4.])
    """
    (n, m), k = g.shape, x.shape[1]
    # oneDNN copies its first matrix to the order that it needs. Transposed, it copies x and then the result instead.
    turned = n * m > (n + m) * k and _quick(x.mT, g.mT)
    return affine(x.mT, g.mT).mT if turned else affine(g.mT, x.mT)


def _quick(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN is available for a matrix product, and faster."""
    return (
        not torch.compiler.is_compiling()
        and not is_vectorizing()
        and a.device.type == "cpu"
        and a.dtype == b.dtype == torch.float32
        and 2 * a.numel() * b.shape[0] >= max(1, FEWEST)
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled  # pyright: ignore[reportAttributeAccessIssue]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # oneDNN is a hundred times slower on columns of a larger matrix
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
