"""Classification accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal.evaluation.metrics.base import Against, Compared, Metric

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Accuracy"]


class Accuracy(Metric):
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

    def compare(self, distribution: Distribution, target: Tensor, answers: Tensor) -> Compared:
        """Computes the share of correct classes of each value, see `Metric`."""
        mode = distribution.mode

        def compared(rows: slice) -> Against:
            def against(answers: Tensor) -> Tensor:
                return (mode[answers] == target[rows]).double().view(*answers.shape, -1).mean(2, keepdim=True)

            return against

        return compared

    def score(self, sums: list[float], rows: int) -> float:
        """Returns the score, in [0, 100]."""
        return 100 * sums[0] / rows
