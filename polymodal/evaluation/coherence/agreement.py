"""Whether what a model makes is of the right class: verdicts on translations and on draws from the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.runtime import distributed

__all__ = ["Verdicts", "agreement", "variation"]


class Verdicts:
    """Of which classes answers are, and of which they should be, over batches, several streams side by side.

    Arguments:
        streams: Their number Q.
        classes: How many there are, C.

    Attributes:
        right: Rows whose answer is of the true class, `(Q,)` int64.
        said: Rows by the class of their answer, `(Q, C)` int64.
        true: The same rows by their true class, `(Q, C)` int64.

    Example:
        >>> verdicts = Verdicts(1, 2)
        >>> verdicts.update(torch.tensor([0, 1]), torch.tensor([0, 1, 1, -1]), torch.tensor([[0, 0, 1, 1]]))
        >>> round(verdicts.accuracy(0), 1), round(verdicts.variation(0), 3)
        (66.7, 0.333)
    """

    def __init__(self, streams: int, classes: int) -> None:
        self.right = torch.zeros(streams, dtype=torch.int64)
        self.said, self.true = (torch.zeros(streams, classes, dtype=torch.int64) for _ in range(2))

    @property
    def rows(self) -> Tensor:
        """How many each stream has seen, `(Q,)` int64."""
        return self.true.sum(1)

    def update(self, said: Tensor, true: Tensor, answers: Tensor) -> None:
        """Takes B rows.

        Arguments:
            said: The classes of U answers, `(U,)` int64.
            true: Of the rows, `(B,)` int64; -1 where a row's is not known, and it does not count.
            answers: Which of the U each stream answers each row with, `(Q, B)` int64; -1 where it does not.
        """
        has = (answers >= 0) & (true >= 0)
        made = said[answers.clamp(min=0)] if len(said) else answers
        self.right += ((made == true) & has).sum(1).cpu()
        for counts, classes in ((self.said, made), (self.true, true.expand_as(made))):
            places = torch.arange(len(counts), device=made.device)[:, None] * counts.shape[1] + classes
            counts += places[has].bincount(minlength=counts.numel()).view_as(counts).cpu()

    def merge(self) -> None:
        """Takes in what the other processes have seen; to be called in all of them."""
        self.right, self.said, self.true = (
            distributed.sums(counts).long() for counts in (self.right, self.said, self.true)
        )

    def accuracy(self, stream: int) -> float:
        """The share of rows whose answer is of the true class, x 100; NaN if there were none."""
        rows = int(self.rows[stream])
        return 100 * int(self.right[stream]) / rows if rows else float("nan")

    def variation(self, stream: int) -> float:
        """The total variation between the classes of the answers and the true ones of the same rows, in [0, 1]."""
        return variation(self.said[stream], self.true[stream])


def variation(said: Tensor, true: Tensor) -> float:
    """The total variation between two counts of classes `(C,)`, each as shares: half the sum of the differences.

    Example:
        >>> variation(torch.tensor([3, 0]), torch.tensor([1, 1]))
        0.5
    """
    if not (said.any() and true.any()):
        return float("nan")
    return float((said / said.sum() - true / true.sum()).abs().sum()) / 2


def agreement(said: Tensor) -> float:
    """The share of rows on which all modalities are of one class, x 100.

    Arguments:
        said: Classes, `(J, N)` int64 of J modalities.

    Example:
        >>> agreement(torch.tensor([[0, 1, 1], [0, 1, 2]]))
        66.66666666666667
    """
    return 100 * int((said == said[:1]).all(0).sum()) / said.shape[1] if said.numel() else float("nan")
