"""Splits a published test set into validation and test rows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["halves"]


def halves(classes: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Splits rows into two random halves, stratified by class.

    The extra rows of classes with an odd number of rows alternate between the first half and the second.

    Arguments:
        classes: Class of each row, `(N,)` integers.
        seed: Random seed for the shuffle.

    Returns:
        Row indices of each half, ascending.

    Example:
        >>> first, second = halves(torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]))
        >>> len(first), len(second), sorted([*first.tolist(), *second.tolist()])
        (4, 4, [0, 1, 2, 3, 4, 5, 6, 7])
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(classes), generator=generator)
    order = order[classes[order].argsort(stable=True)]  # by class, shuffled within each
    first = torch.zeros(len(classes), dtype=torch.bool)
    first[order[::2]] = True
    return first.nonzero()[:, 0], (~first).nonzero()[:, 0]
