"""Validation and test rows from one published test set."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["halves"]


def halves(classes: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two halves of rows, shuffled once, with each class equally often in both.

    Of a class of an odd number of rows the one that is over goes to the first half and to the second in turn.

    Arguments:
        classes: Of the rows, `(N,)` integers.
        seed: Of the shuffle.

    Returns:
        The numbers of the rows of each half, ascending.

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
