"""Root mean squared error, `RMSE = sqrt((1/n) sum_i (x_i - y_i)^2)`.

The sum is over all n observed elements of all rows, x_i is the predicted mean and y_i the true value of an element.
The missing elements of partly observed vectors are NaN in the true values.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import TYPE_CHECKING

import torch

from polymodal.evaluation.metrics.base import Metric, RowComparison, TermFunction

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["RMSE"]


class RMSE(Metric):
    """The root mean squared error over all observed elements of all rows, in the units of the target values.

    Example:
        >>> import torch
        >>> rmse = RMSE()
        >>> rmse.update(torch.distributions.Normal(torch.zeros(2, 2), 1.0), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        >>> rmse.compute()
        2.5

    Source: MAC-WAE, section "Evaluation metric": the root is taken once, over the whole test set.
    """

    better = "lower"
    kind = "numbers"
    width = 2
    scores_elements = True

    def compare(self, distribution: Distribution, target: Tensor, indices: Tensor) -> RowComparison:
        """Computes the squared error and the number of observed elements of each value, see `Metric`."""
        mean, size = distribution.mean, target[0].numel()
        missing = target.isnan() if target.dim() == 2 else None  # only vectors may be partly observed
        gaps = None if missing is None or not missing.any() else missing.sum(1).double()

        def compare_rows(rows: slice) -> TermFunction:
            def compute_terms(indices: Tensor) -> Tensor:
                errors = (mean[indices] - target[rows]).double()
                errors = errors if missing is None else errors.masked_fill(missing[rows], 0)
                errors = errors.square().view(*indices.shape, -1).sum(2)
                counts = torch.full_like(errors, size)
                return torch.stack([errors, counts if gaps is None else counts - gaps[rows]], dim=2)

            return compute_terms

        return compare_rows

    def score(self, sums: list[float], rows: int) -> float:
        """Returns the root mean squared error, a non-negative number."""
        total, elements = sums
        return sqrt(total / elements) if elements else nan
