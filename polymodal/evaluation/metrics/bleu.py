"""BLEU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal import parallel
from polymodal.evaluation.metrics.base import Metric
from polymodal.modalities.text import END, PADDING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["BLEU3"]


class BLEU3(Metric):
    """Corpus-level BLEU with uniform weights on 1- to 3-grams, without smoothing, x 100.

    Each text has one reference. End and padding tokens are dropped wherever they stand.

    Example:
        >>> import torch
        >>> bleu, tokens = BLEU3(), torch.tensor([[5, 6, 7, 8, 1, 0]])
        >>> p = torch.distributions.Categorical(probs=torch.nn.functional.one_hot(tokens, 9).float())
        >>> bleu.update(p, tokens)
        >>> round(bleu.compute(), 4)
        100.0

    Source: Papineni et al. (2002); MAC-WAE, section "Evaluation metric" (the authors' code takes 4-grams).
    """

    better = "higher"

    def __init__(self) -> None:
        from torchmetrics.text import BLEUScore

        self.score = BLEUScore(n_gram=3, smooth=False)
        self.rows = 0

    def update(self, distribution: Distribution, target: Tensor) -> None:
        """Takes N texts, see `Metric`."""
        if len(target):
            self.score.update(_words(distribution.mode), [[reference] for reference in _words(target)])
        self.rows += len(target)

    def merge(self) -> None:
        """See `Metric`."""
        score = self.score
        for name in ("numerator", "denominator", "preds_len", "target_len"):
            setattr(score, name, parallel.sums(getattr(score, name)).float())
        (rows,) = parallel.totals(self.rows)
        self.rows = int(rows)

    def compute(self) -> float:
        """In [0, 100]."""
        return 100 * float(self.score.compute()) if self.rows else float("nan")


def _words(tokens: Tensor) -> list[str]:
    return [" ".join(str(token) for token in row if token not in (END, PADDING)) for row in tokens.tolist()]
