"""Root of the mean squared error."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from polymodal import parallel
from polymodal.evaluation.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["RMSE"]


class RMSE(Metric):
    """The root of the mean squared error over all elements of all rows, in the units of the table.

    Example:
        >>> import torch
        >>> rmse = RMSE()
        >>> rmse.update(torch.distributions.Normal(torch.zeros(2, 2), 1.0), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        >>> rmse.compute()
        2.5

    Source: MAC-WAE, section "Evaluation metric": the root is taken once, over the whole test set.
    """

    better = "lower"

    def __init__(self) -> None:
        self.total, self.elements, self.rows = 0.0, 0, 0

    def update(self, distribution: Distribution, target: Tensor) -> None:
        """Takes N rows, see `Metric`."""
        self.total += float((distribution.mean - target).double().square().sum())
        self.elements += target.numel()
        self.rows += len(target)

    def merge(self) -> None:
        """See `Metric`."""
        self.total, elements, rows = parallel.totals(self.total, self.elements, self.rows)
        self.elements, self.rows = int(elements), int(rows)

    def compute(self) -> float:
        """At least 0."""
        return sqrt(self.total / self.elements) if self.elements else float("nan")
