"""BLEU."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.evaluation.metrics.base import Against, Compared, Metric
from polymodal.modalities.text import END, PADDING

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["BLEU3"]

ORDER = 3


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
    width = 2 * ORDER + 2

    def compare(self, distribution: Distribution, target: Tensor, answers: Tensor) -> Compared:
        """For n = 1, 2, 3 how many n-grams of the answer match, and how many it has; both lengths; see `Metric`."""
        made, made_length = _words(distribution.mode)
        true, true_length = _words(target)

        def compared(rows: slice) -> Against:
            def against(answers: Tensor) -> Tensor:
                references = true[rows].expand(len(answers), -1, -1).flatten(0, 1)
                lengths = made_length[answers], true_length[rows].expand_as(answers)
                matched, counts = _matched(made[answers.flatten()], references, lengths[0].flatten())
                numbers = torch.cat([matched, counts], dim=1).unflatten(0, answers.shape)
                return torch.cat([numbers, torch.stack(lengths, dim=2)], dim=2)

            return against

        return compared

    def score(self, sums: list[float], rows: int) -> float:
        """In [0, 100]."""
        matched, counts, (made, true) = sums[:ORDER], sums[ORDER:-2], sums[-2:]
        if min(matched) == 0:
            return 0.0
        precision = exp(sum(log(hits / count) for hits, count in zip(matched, counts, strict=True)) / ORDER)
        return 100 * precision * exp(min(0.0, 1 - true / made))


def _words(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Texts `(N, L)` with their words in front, -1 behind them, and how many words there are, `(N,)`."""
    kept = (tokens != END) & (tokens != PADDING)
    front = (~kept).int().argsort(dim=1, stable=True)
    return torch.where(kept, tokens, -1).gather(1, front), kept.sum(1)


def _matched(made: Tensor, true: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """For n = 1, 2, 3 how many n-grams of P texts `(P, L)` are in their references, and how many they have, `(P, 3)`.

    The k-th n-gram of a kind matches where the reference has at least k of it. What stands behind the reference's words
    matches nothing, and of the texts themselves only the first `(P,)` words are looked at.
    """
    places = torch.arange(made.shape[1], device=made.device)
    same_own, same = made[:, :, None] == made[:, None], made[:, :, None] == true[:, None]  # words, (P, L, L)
    own, theirs = same_own, same  # n-grams, from their first words on
    matched, counts = [], []
    for n in range(1, ORDER + 1):
        here = places < (length - n + 1)[:, None]  # (P, L)
        times = (own & (places <= places[:, None])).sum(2)  # that of the same kind up to here
        matched.append((here & (times <= theirs.sum(2))).sum(1))
        counts.append(here.sum(1))
        own, theirs = _preceded(same_own, own), _preceded(same, theirs)
    return torch.stack(matched, dim=1), torch.stack(counts, dim=1)


def _preceded(words: Tensor, ngrams: Tensor) -> Tensor:
    """Where words `(P, L, L)` are the same, and the n-grams that follow them too: that of (n + 1)-grams."""
    return words & torch.nn.functional.pad(ngrams[:, 1:, 1:], (0, 1, 0, 1))
