"""One-hot encoding of classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["OneHot"]


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
        return F.one_hot(x + 1, self.classes + 1)[..., 1:].to(self.like.dtype)

    def extra_repr(self) -> str:
        """Returns the number of classes, for the representation of the module."""
        return str(self.classes)
