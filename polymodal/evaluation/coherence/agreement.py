"""Agreement and frequencies of the predicted classes of translations and of unconditional samples.

The total variation between class frequencies p and q is `TV = (1/2) sum_c |p_c - q_c|`, over all classes c.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.runtime import distributed

__all__ = ["ClassCounts", "compute_agreement", "compute_total_variation"]


class ClassCounts:
    """Counts of predicted and true classes of several streams of predictions, accumulated over batches.

    Arguments:
        streams: Number of streams Q.
        classes: Number of classes C.

    Attributes:
        correct: Number of rows whose predicted class is the true one, `(Q,)` int64.
        predicted: Number of rows by predicted class, `(Q, C)` int64.
        true: Number of the same rows by true class, `(Q, C)` int64.

    Example:
        >>> counts = ClassCounts(1, 2)
        >>> counts.update(torch.tensor([0, 1]), torch.tensor([0, 1, 1, -1]), torch.tensor([[0, 0, 1, 1]]))
        >>> round(counts.accuracy(0), 1), round(counts.variation(0), 3)
        (66.7, 0.333)
    """

    def __init__(self, streams: int, classes: int) -> None:
        self.correct = torch.zeros(streams, dtype=torch.int64)
        self.predicted, self.true = (torch.zeros(streams, classes, dtype=torch.int64) for _ in range(2))

    @property
    def rows(self) -> Tensor:
        """Number of rows of each stream, `(Q,)` int64."""
        return self.true.sum(1)

    def update(self, predicted: Tensor, true: Tensor, predictions: Tensor) -> None:
        """Adds B rows.

        Arguments:
            predicted: Predicted classes of U predictions, `(U,)` int64.
            true: True classes of the rows, `(B,)` int64; -1 if unknown, and then the row is not counted.
            predictions: Index of the prediction of each row in each stream, `(Q, B)` int64; -1 where there is none.
        """
        has = (predictions >= 0) & (true >= 0)
        chosen = predicted[predictions.clamp(min=0)] if len(predicted) else predictions
        self.correct += ((chosen == true) & has).sum(1).cpu()
        for counts, classes in ((self.predicted, chosen), (self.true, true.expand_as(chosen))):
            cells = torch.arange(len(counts), device=chosen.device)[:, None] * counts.shape[1] + classes
            counts += cells[has].bincount(minlength=counts.numel()).view_as(counts).cpu()

    def merge(self) -> None:
        """Adds the counts of the other processes; must be called in all of them."""
        self.correct, self.predicted, self.true = (
            distributed.all_reduce_sum(counts).long() for counts in (self.correct, self.predicted, self.true)
        )

    def accuracy(self, stream: int) -> float:
        """Returns the percentage of rows whose predicted class is the true one; NaN without rows."""
        rows = int(self.rows[stream])
        return 100 * int(self.correct[stream]) / rows if rows else float("nan")

    def variation(self, stream: int) -> float:
        """Returns the total variation between predicted and true classes of a stream, in [0, 1]; NaN without rows."""
        return compute_total_variation(self.predicted[stream], self.true[stream])


def compute_total_variation(predicted: Tensor, true: Tensor) -> float:
    """Returns the total variation, in [0, 1], between class frequencies given as counts `(C,)`; NaN if one has none.

    Example:
        >>> compute_total_variation(torch.tensor([3, 0]), torch.tensor([1, 1]))
        0.5
    """
    if not (predicted.any() and true.any()):
        return float("nan")
    return float((predicted / predicted.sum() - true / true.sum()).abs().sum()) / 2


def compute_agreement(predicted: Tensor) -> float:
    """Returns the percentage of rows whose modalities are all of the same class; NaN without rows.

    Arguments:
        predicted: Predicted classes of J modalities, `(J, N)` int64.

    Example:
        >>> compute_agreement(torch.tensor([[0, 1, 1], [0, 1, 2]]))
        66.66666666666667
    """
    return (
        100 * int((predicted == predicted[:1]).all(0).sum()) / predicted.shape[1] if predicted.numel() else float("nan")
    )
