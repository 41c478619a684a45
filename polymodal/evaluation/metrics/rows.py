"""Metrics that are means over rows: `score = (1/N) sum_i f(y_i, x_i)`.

y_i is the point prediction and x_i the true value of row i: the mean of the predicted distribution for numbers, and its
mode for classes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from polymodal.evaluation.metrics.base import Metric, RowComparison, TermFunction

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["RowMetric"]


class RowMetric(Metric):
    """A mean over rows of a function of the point prediction and the true value.

    A subclass implements `score_rows`, and says by `better`, `kind` and `axes` which direction is better and which
    values it is for. Add it to `polymodal.METRICS` to use it by name.

    Example:
        >>> import torch
        >>> class MeanAbsoluteError(RowMetric):
        ...     better, kind = "lower", "numbers"
        ...
        ...     def score_rows(self, prediction, target):
        ...         return (prediction - target).abs().flatten(1).mean(1)
        >>> error = MeanAbsoluteError()
        >>> error.update(torch.distributions.Normal(torch.zeros(2, 2), 1.0), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> error.compute()
        2.0
    """

    @abstractmethod
    def score_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Returns the score of each row, `(N,)`.

        It may be called from several threads at once.

        Arguments:
            prediction: Point predictions, `(N, *shape)`.
            target: True values as networks take them, `(N, *shape)`.
        """

    def compare(self, distribution: Distribution, target: Tensor, indices: Tensor) -> RowComparison:
        """Computes the score of each row; see `Metric`."""
        point = distribution.mode if self.kind == "classes" else distribution.mean

        def compare_rows(rows: slice) -> TermFunction:
            def compute_terms(indices: Tensor) -> Tensor:
                true = target[rows].expand(len(indices), *target[rows].shape).flatten(0, 1)
                return self.score_rows(point[indices.flatten()], true).view(*indices.shape, 1)

            return compute_terms

        return compare_rows

    def score(self, sums: list[float], rows: int) -> float:
        """Returns the mean over the rows."""
        return sums[0] / rows
