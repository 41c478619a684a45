"""Accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal import parallel
from polymodal.evaluation.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Accuracy"]


class Accuracy(Metric):
    """The share of values whose most probable class is the true one, x 100 (micro average).

    Example:
        >>> import torch
        >>> accuracy = Accuracy()
        >>> p = torch.distributions.Categorical(probs=torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
        >>> accuracy.update(p, torch.tensor([0, 1, 1]))
        >>> round(accuracy.compute(), 2)
        66.67

    Source: MAC-WAE, section "Evaluation metric".
    """

    better = "higher"

    def __init__(self) -> None:
        self.right, self.rows = 0, 0

    def update(self, distribution: Distribution, target: Tensor) -> None:
        """Takes N rows, see `Metric`."""
        self.right += int((distribution.mode == target).sum())
        self.rows += len(target)

    def merge(self) -> None:
        """See `Metric`."""
        self.right, self.rows = map(int, parallel.totals(self.right, self.rows))

    def compute(self) -> float:
        """In [0, 100]."""
        return 100 * self.right / self.rows if self.rows else float("nan")
