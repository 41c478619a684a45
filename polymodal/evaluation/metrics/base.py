"""What every metric provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Metric"]


class Metric(ABC):
    """A score of predictions against the truth, over batches, so that a test set need not fit in memory."""

    better: ClassVar[Literal["higher", "lower"]]
    """Which direction is better."""
    rows: int
    """How many it has seen."""

    @abstractmethod
    def update(self, distribution: Distribution, target: Tensor) -> None:
        """Takes N rows.

        Arguments:
            distribution: p(x | z), batch shape `(N,)`, event shape the value's.
            target: The truth as networks take it, `(N, *shape)`.
        """

    @abstractmethod
    def compute(self) -> float:
        """The score over all rows so far; NaN if there were none."""

    @abstractmethod
    def merge(self) -> None:
        """Takes in what the other processes have seen; to be called in all of them."""

    @property
    def note(self) -> str:
        """What a reader of the score must know, if anything."""
        return ""
