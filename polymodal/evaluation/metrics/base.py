"""What every metric provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from polymodal import parallel
from polymodal.threads import each

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["Compared", "Metric"]

PIECE = 2 * 2**20
"""Bytes of the truth that are compared at once: what is worked out of it should stay in a processor's cache."""

Compared = Callable[[Tensor, Tensor], Tensor]
"""From P answers and P rows, by number, int64 `(P,)` each, to what is summed of each pair, `(P, width)`.

The answers are in ascending order. It may be called in several threads at once."""


class Metric(ABC):
    """A score of predictions against the truth, over batches, so that a test set need not fit in memory.

    It holds sums over rows, so the sums of two halves of a test set add up to those of the whole. Several streams
    of predictions of the same truth are scored side by side: a prediction that several of them share is made, and
    looked at, once. To add a metric, write `compare` and `score`.

    Arguments:
        streams: Their number Q.

    Attributes:
        sums: Of what `compare` gives, `(Q, width)` float64.
        rows: How many each stream has seen, `(Q,)` int64.
    """

    better: ClassVar[Literal["higher", "lower"]]
    """Which direction is better."""
    width: ClassVar[int] = 1
    """How many numbers of a row are summed."""

    def __init__(self, streams: int = 1) -> None:
        self.sums = torch.zeros(streams, self.width, dtype=torch.float64)
        self.rows = torch.zeros(streams, dtype=torch.int64)

    def update(self, distribution: Distribution, target: Tensor, answers: Tensor | None = None) -> None:
        """Takes B rows.

        Arguments:
            distribution: p(x | z), batch shape `(U,)`, event shape the value's.
            target: The truth as networks take it, `(B, *shape)`.
            answers: Which of the U each stream answers each row with, `(Q, B)` int64; -1 where it does not. By default
                one stream answers row i with the i-th.
        """
        if answers is None:
            answers = torch.arange(len(target), device=target.device)[None]
        streams, rows = (answers >= 0).nonzero(as_tuple=True)
        self.rows += streams.bincount(minlength=len(self.rows)).cpu()
        if not len(rows):
            return
        answer, order = answers[streams, rows].sort()
        sizes = _sizes(answer, max(1, PIECE // (target[0].numel() * target.element_size())))
        compared = self.compare(distribution, target)
        pairs = [*zip(answer.split(sizes), rows[order].split(sizes), strict=True)]
        numbers = each(lambda pair: compared(*pair), pairs, target.device)
        self.sums.index_add_(0, streams[order].cpu(), torch.cat(numbers).double().cpu())

    def merge(self) -> None:
        """Takes in what the other processes have seen; to be called in all of them."""
        self.sums, self.rows = parallel.sums(self.sums), parallel.sums(self.rows).long()

    def compute(self, stream: int = 0) -> float:
        """The score of a stream over all rows so far; NaN if there were none."""
        rows = int(self.rows[stream])
        return self.score(self.sums[stream].tolist(), rows) if rows else float("nan")

    @abstractmethod
    def compare(self, distribution: Distribution, target: Tensor) -> Compared:
        """Looks at U predictions and B true values, each once, so that pairs of them can be compared.

        Arguments:
            distribution: As in `update`.
            target: As in `update`.
        """

    @abstractmethod
    def score(self, sums: list[float], rows: int) -> float:
        """The score, from the sums over so many rows, at least one."""

    @property
    def note(self) -> str:
        """What a reader of the score must know, if anything."""
        return ""


def _sizes(answer: Tensor, most: int) -> list[int]:
    """Of the pieces that pairs of ascending answers are compared in; one that very many have has pieces of its own.

    Example:
        >>> _sizes(torch.tensor([0, 1, 2, 2, 2, 2, 2, 3, 4]), 4)
        [2, 3, 2, 2]
    """
    sizes, room = [], 0
    for count in answer.unique_consecutive(return_counts=True)[1].tolist():
        if 4 * count > most:
            pieces = -(-count // most)
            sizes += [(count + i) // pieces for i in reversed(range(pieces))]
            room = 0
        elif count <= room:
            sizes[-1] += count
            room -= count
        else:
            sizes.append(count)
            room = most - count
    return sizes
