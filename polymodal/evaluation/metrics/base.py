"""What every metric provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from polymodal.runtime import distributed
from polymodal.runtime.threads import each

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["Compared", "Metric"]

PIECE = 3 * 2**18
"""Bytes of answers that are compared at once on a CPU: what is worked out of them should stay in its cache."""

Against = Callable[[Tensor], Tensor]
"""From what q streams answer R rows with, by number, int64 `(q, R)`, to what is summed of each, `(q, R, width)`."""
Compared = Callable[[slice], Against]
"""Looks at R of the rows, so that answers can be compared with them. It may be called in several threads at once."""


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
        has = answers >= 0
        self.rows += has.sum(1).cpu()
        if not has.any():
            return
        compared = self.compare(distribution, target, answers)
        most, count = at_once(target), len(target)
        bounds = torch.linspace(0, count, -(-count // most) + 1).long().tolist()

        def summed(rows: slice) -> Tensor:
            against, some = compared(rows), answers[:, rows].clamp(min=0)
            streams = max(1, most // (rows.stop - rows.start))
            numbers = torch.cat([against(part) for part in some.split(streams)])
            return numbers.double().masked_fill(~has[:, rows, None], 0).sum(1)

        pieces = [*map(slice, bounds, bounds[1:])]
        self.sums += torch.stack(each(summed, pieces, target.device)).sum(0).cpu()

    def merge(self) -> None:
        """Takes in what the other processes have seen; to be called in all of them."""
        self.sums, self.rows = distributed.sums(self.sums), distributed.sums(self.rows).long()

    def compute(self, stream: int = 0) -> float:
        """The score of a stream over all rows so far; NaN if there were none."""
        rows = int(self.rows[stream])
        return self.score(self.sums[stream].tolist(), rows) if rows else float("nan")

    @abstractmethod
    def compare(self, distribution: Distribution, target: Tensor, answers: Tensor) -> Compared:
        """Looks at U predictions, each once, so that they can be compared with B true values.

        Arguments:
            distribution: As in `update`.
            target: As in `update`.
            answers: As in `update`; what is compared in place of -1 is not summed.
        """

    @abstractmethod
    def score(self, sums: list[float], rows: int) -> float:
        """The score, from the sums over so many rows, at least one."""

    @property
    def note(self) -> str:
        """What a reader of the score must know, if anything."""
        return ""


def at_once(values: Tensor) -> int:
    """How many of some values, `(N, *shape)`, are compared at once."""
    piece = PIECE if values.device.type == "cpu" else 64 * PIECE
    return max(1, piece // (values[0].numel() * values.element_size()))
