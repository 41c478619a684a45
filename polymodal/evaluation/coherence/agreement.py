"""Agreement and frequencies of the predicted classes of translations and of unconditional samples.

The total variation between class frequencies p and q is `TV = (1/2) sum_c |p_c - q_c|`, over all classes c.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.runtime import distributed

__all__ = ["Verdicts", "agreement", "variation"]


class Verdicts:
    """Counts of predicted and true classes of several streams of predictions, accumulated over batches.

    Arguments:
        streams: Number of streams Q.
        classes: Number of classes C.

    Attributes:
        right: Number of rows whose predicted class is the true one, `(Q,)` int64.
        said: Number of rows by predicted class, `(Q, C)` int64.
        true: Number of the same rows by true class, `(Q, C)` int64.

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
        """Number of rows of each stream, `(Q,)` int64."""
        return self.true.sum(1)

    def update(self, said: Tensor, true: Tensor, answers: Tensor) -> None:
        """Adds B rows.

        Arguments:
            said: Predicted classes of U predictions, `(U,)` int64.
            true: True classes of the rows, `(B,)` int64; -1 if unknown, and then the row is not counted.
            answers: Index of the prediction of each row in each stream, `(Q, B)` int64; -1 where there is none.
        """
        has = (answers >= 0) & (true >= 0)
        made = said[answers.clamp(min=0)] if len(said) else answers
        self.right += ((made == true) & has).sum(1).cpu()
        for counts, classes in ((self.said, made), (self.true, true.expand_as(made))):
            places = torch.arange(len(counts), device=made.device)[:, None] * counts.shape[1] + classes
            counts += places[has].bincount(minlength=counts.numel()).view_as(counts).cpu()

    def merge(self) -> None:
        """Adds the counts of the other processes; must be called in all of them."""
        self.right, self.said, self.true = (
            distributed.all_reduce_sum(counts).long() for counts in (self.right, self.said, self.true)
        )

    def accuracy(self, stream: int) -> float:
        """Returns the percentage of rows whose predicted class is the true one; NaN without rows."""
        rows = int(self.rows[stream])
        return 100 * int(self.right[stream]) / rows if rows else float("nan")

    def variation(self, stream: int) -> float:
        """Returns the total variation between predicted and true classes of a stream, in [0, 1]; NaN without rows."""
        return variation(self.said[stream], self.true[stream])


def variation(said: Tensor, true: Tensor) -> float:
    """Returns the total variation, in [0, 1], between class frequencies given as counts `(C,)`; NaN if one has none.

    Example:
        >>> variation(torch.tensor([3, 0]), torch.tensor([1, 1]))
        0.5
    """
    if not (said.any() and true.any()):
        return float("nan")
    return float((said / said.sum() - true / true.sum()).abs().sum()) / 2


def agreement(said: Tensor) -> float:
    """Returns the percentage of rows whose modalities are all of the same class; NaN without rows.

    Arguments:
        said: Predicted classes of J modalities, `(J, N)` int64.

    Example:
        >>> agreement(torch.tensor([[0, 1, 1], [0, 1, 2]]))
        66.66666666666667
    """
    return 100 * int((said == said[:1]).all(0).sum()) / said.shape[1] if said.numel() else float("nan")
