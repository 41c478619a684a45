"""Classification accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal.evaluation.metrics.rows import RowMetric

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Accuracy"]


class Accuracy(RowMetric):
    """Percentage of classes or tokens whose most probable value is the true one (micro average).

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
    kind = "classes"

    def score_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Returns the share of correct classes of each value, `(N,)`; see `RowMetric`."""
        return (prediction == target).double().view(len(target), -1).mean(1)

    def score(self, sums: list[float], rows: int) -> float:
        """Returns the score, in [0, 100]."""
        return 100 * sums[0] / rows
