"""Interface of metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from polymodal.runtime import distributed
from polymodal.runtime.threads import map_in_threads

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from polymodal.modalities import Modality

__all__ = ["Metric", "RowComparison"]

CHUNK = 3 * 2**18
"""Bytes of values compared at once on a CPU, so that intermediate results fit in its cache; elsewhere 64 times that."""

TermFunction = Callable[[Tensor], Tensor]
"""Function from prediction indices of q streams and R rows, int64 `(q, R)`, to terms to sum, `(q, R, width)`."""
RowComparison = Callable[[slice], TermFunction]
"""Function that prepares a slice of the rows for comparison with predictions. It may run in several threads at once."""


class Metric(ABC):
    """A score of predictions against true values, accumulated over batches.

    A metric keeps sums over rows, so a test set need not fit in memory and can be split among processes. It scores
    several streams of predictions of the same true values at once, and processes a prediction that several streams
    share once. A metric that is a mean over rows is a `RowMetric`, which needs one function. For any other metric,
    implement `compare` and `score`.

    Arguments:
        streams: Number of streams Q.

    Attributes:
        sums: Sums over rows of the terms of `compare`, `(Q, width)` float64.
        rows: Number of rows of each stream, `(Q,)` int64.
    """

    better: ClassVar[Literal["higher", "lower"]]
    """Whether higher or lower scores are better."""
    width: ClassVar[int] = 1
    """Number of terms per row that are summed."""
    kind: ClassVar[Literal["numbers", "classes"] | None] = None
    """Kind of the values that the metric is for; None for both. Classes are labels and the tokens of texts."""
    axes: ClassVar[int | None] = None
    """Number of axes of a value that the metric is for, such as 3 for images `(C, H, W)`; None for any number."""

    scores_elements: ClassVar[bool] = False
    """Whether the metric scores vectors with missing elements, which are NaN in the true values. Otherwise, only rows
    in which the vector is complete are scored."""

    def __init__(self, streams: int = 1) -> None:
        self.sums = torch.zeros(streams, self.width, dtype=torch.float64)
        self.rows = torch.zeros(streams, dtype=torch.int64)

    @classmethod
    def suits(cls, modality: Modality) -> bool:
        """Checks whether the metric is for the values of a modality.

        Example:
            >>> from polymodal.evaluation import METRICS
            >>> from polymodal.modalities import Image, Label
            >>> [name for name, metric in METRICS.items() if metric.suits(Label(3))]
            ['acc']
            >>> [name for name, metric in METRICS.items() if metric.suits(Image(3, 28, 28))]
            ['rmse', 'ssim', 'ssim-paper']
        """
        kind = "numbers" if modality.levels is None else "classes"
        return cls.kind in (None, kind) and cls.axes in (None, len(modality.shape))

    def update(self, distribution: Distribution, target: Tensor, indices: Tensor | None = None) -> None:
        """Adds B rows.

        Arguments:
            distribution: U predicted distributions p(x | z), batch shape `(U,)`, event shape that of a value.
            target: True values as networks take them, `(B, *shape)`.
            indices: Index of the prediction of each row in each stream, `(Q, B)` int64; -1 where there is none. By
                default, one stream predicts row i with the i-th distribution.
        """
        if indices is None:
            indices = torch.arange(len(target), device=target.device)[None]
        has = indices >= 0
        self.rows += has.sum(1).cpu()
        if not has.any():
            return
        compare_rows = self.compare(distribution, target, indices)
        most, count = count_rows_per_chunk(target), len(target)
        bounds = torch.linspace(0, count, -(-count // most) + 1).long().tolist()

        def sum_terms(rows: slice) -> Tensor:
            compute_terms, some = compare_rows(rows), indices[:, rows].clamp(min=0)
            streams = max(1, most // (rows.stop - rows.start))
            numbers = torch.cat([compute_terms(part) for part in some.split(streams)])
            return numbers.double().masked_fill(~has[:, rows, None], 0).sum(1)

        chunks = [*map(slice, bounds, bounds[1:])]
        self.sums += torch.stack(map_in_threads(sum_terms, chunks, target.device)).sum(0).cpu()

    def merge(self) -> None:
        """Adds the sums of the other processes; must be called in all of them."""
        self.sums, self.rows = distributed.all_reduce_sum(self.sums), distributed.all_reduce_sum(self.rows).long()

    def compute(self, stream: int = 0) -> float:
        """Returns the score of a stream over all rows so far; NaN without rows."""
        rows = int(self.rows[stream])
        return self.score(self.sums[stream].tolist(), rows) if rows else float("nan")

    @abstractmethod
    def compare(self, distribution: Distribution, target: Tensor, indices: Tensor) -> RowComparison:
        """Processes each of U predictions once, for comparison with B true values.

        Arguments:
            distribution: Predicted distributions, as in `update`.
            target: True values, as in `update`.
            indices: Indices of predictions, as in `update`. The terms of rows with -1 are not summed.

        Returns:
            Function from a slice of the rows to a function that computes the terms to sum, see `RowComparison`.
        """

    @abstractmethod
    def score(self, sums: list[float], rows: int) -> float:
        """Returns the score, given the sums over a number of rows, at least one."""

    @property
    def note(self) -> str:
        """A remark on how the score was computed, or an empty string."""
        return ""


def count_rows_per_chunk(values: Tensor) -> int:
    """Returns how many of the values `(N, *shape)` to compare at once."""
    chunk = CHUNK if values.device.type == "cpu" else 64 * CHUNK
    return max(1, chunk // (values[0].numel() * values.element_size()))
