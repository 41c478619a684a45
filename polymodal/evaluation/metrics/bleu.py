"""BLEU, a score of n-gram matches between predicted and reference texts.

`BLEU-3 = 100 min(1, exp(1 - r / c)) (p_1 p_2 p_3)^(1/3)`, with c and r the total numbers of words of the predictions
and the references, and p_n the share of the predictions' n-grams that match, each n-gram at most as often as it occurs
in the reference.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.evaluation.metrics.base import Metric, RowComparison, TermFunction
from polymodal.modalities.text import END, PADDING

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["BLEU3"]

ORDER = 3


class BLEU3(Metric):
    """Corpus-level BLEU with uniform weights on 1- to 3-grams, without smoothing, x 100.

    Each text has one reference. End and padding tokens are dropped at any position.

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
    kind = "classes"
    axes = 1
    width = 2 * ORDER + 2

    def compare(self, distribution: Distribution, target: Tensor, indices: Tensor) -> RowComparison:
        """Counts matched n-grams and all n-grams of the prediction, n = 1, 2, 3, and both lengths; see `Metric`."""
        made, made_length = _words(distribution.mode)
        true, true_length = _words(target)

        def compare_rows(rows: slice) -> TermFunction:
            def compute_terms(indices: Tensor) -> Tensor:
                references = true[rows].expand(len(indices), -1, -1).flatten(0, 1)
                lengths = made_length[indices], true_length[rows].expand_as(indices)
                matched, counts = _count_ngram_matches(made[indices.flatten()], references, lengths[0].flatten())
                numbers = torch.cat([matched, counts], dim=1).unflatten(0, indices.shape)
                return torch.cat([numbers, torch.stack(lengths, dim=2)], dim=2)

            return compute_terms

        return compare_rows

    def score(self, sums: list[float], rows: int) -> float:
        """Returns the score, in [0, 100]."""
        matched, counts, (made, true) = sums[:ORDER], sums[ORDER:-2], sums[-2:]
        if min(matched) == 0:
            return 0.0
        precision = exp(sum(log(hits / count) for hits, count in zip(matched, counts, strict=True)) / ORDER)
        return 100 * precision * exp(min(0.0, 1 - true / made))


def _words(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the words of texts `(N, L)` to the front, followed by -1, and returns them with their counts `(N,)`."""
    kept = (tokens != END) & (tokens != PADDING)
    front = (~kept).int().argsort(dim=1, stable=True)
    return torch.where(kept, tokens, -1).gather(1, front), kept.sum(1)


def _count_ngram_matches(made: Tensor, true: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Counts the n-grams of P texts that match their references, and all their n-grams, for n = 1, 2, 3.

    The k-th occurrence of an n-gram matches if the reference has at least k of it. The padding -1 after the reference's
    words matches no word.

    Arguments:
        made: Predicted texts, `(P, L)`.
        true: Reference texts, `(P, L)`.
        length: Numbers of words of the predicted texts, `(P,)`; later positions are ignored.

    Returns:
        Numbers of matched n-grams and of all n-grams, `(P, 3)` each.
    """
    places = torch.arange(made.shape[1], device=made.device)
    same_own, same = made[:, :, None] == made[:, None], made[:, :, None] == true[:, None]  # words, (P, L, L)
    own, theirs = same_own, same  # n-grams, indexed by their first words
    matched, counts = [], []
    for n in range(1, ORDER + 1):
        here = places < (length - n + 1)[:, None]  # (P, L)
        times = (own & (places <= places[:, None])).sum(2)  # occurrences of the same n-gram up to here
        matched.append((here & (times <= theirs.sum(2))).sum(1))
        counts.append(here.sum(1))
        own, theirs = _extend_ngram_matches(same_own, own), _extend_ngram_matches(same, theirs)
    return torch.stack(matched, dim=1), torch.stack(counts, dim=1)


def _extend_ngram_matches(words: Tensor, ngrams: Tensor) -> Tensor:
    """Returns where (n + 1)-grams are equal: where words `(P, L, L)` are, and the n-grams that follow them are."""
    return words & torch.nn.functional.pad(ngrams[:, 1:, 1:], (0, 1, 0, 1))
