"""One-hot encoding of classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["OneHot", "encode_one_hot"]


class OneHot(nn.Module):
    """Encodes class indices `(*)` as one-hot vectors `(*, classes)`, and -1 as zeros, in the module's dtype.

    Arguments:
        classes: Number of classes.

    Example:
        >>> OneHot(3)(torch.tensor([2, -1]))
        tensor([[0., 0., 1.],
                [0., 0., 0.]])
    """

    like: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes indices `(*)` int64 to `(*, classes)`."""
        return encode_one_hot(x, self.classes, self.like.dtype)

    def extra_repr(self) -> str:
        """Returns the number of classes, for the representation of the module."""
        return str(self.classes)


def encode_one_hot(x: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Encodes class indices `(*)` as one-hot vectors `(*, classes)` of a type, and -1 as zeros."""
    return (x[..., None] == torch.arange(classes, device=x.device)).to(dtype)
