"""Detection of numbers far outside the range of the training rows.

Let [a, b] be the range of a number in the training rows and w = b - a its width, both as scaled in tables (of the
logarithm, if the modality has `log`). A number x is far outside if x < a - 10 w or x > b + 10 w. A column is far
outside if more than half of its numbers, and at least two, are below a - w or above b + w, which happens if they are in
another unit. Numbers from the distribution of the training rows are practically never far outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polymodal.modalities import Modality

__all__ = ["Outliers", "clamp"]

WIDTHS = 10
"""Largest distance of a single number from the training range, in widths of this range."""
MOST_LISTED = 3


class Outliers:
    """Counts the rows in which numbers of a modality are far outside the training range, chunk by chunk.

    Arguments:
        modality: The modality; only vectors with a known training range are checked.
    """

    def __init__(self, modality: Modality) -> None:
        self.modality, self.range = modality, _range(modality)
        self.listed: list[tuple[str, float]] = []
        self.far, self.outside, self.seen = 0, 0, 0
        self.smallest, self.largest = float("inf"), float("-inf")

    def count(self, values: Tensor, observed: Tensor, number: Callable[[int], str]) -> None:
        """Counts the rows of a chunk with numbers that are far outside.

        Arguments:
            values: Values as scaled in tables, `(B, *shape)`.
            observed: Mask of observed values, `(B,)` bool.
            number: Function from the position of a row in the chunk to the row's name in messages.
        """
        if self.range is None or not len(values):
            return
        low, high = self.range
        width = high - low
        numbers = values[observed].double()
        self.seen += len(numbers)
        if not (beyond := (numbers < low - width) | (numbers > high + width)).any():
            return
        rows = beyond.any(1)
        self.outside += int(rows.sum())
        raw = self.modality.write(numbers)[beyond]
        self.smallest = min(self.smallest, float(raw.min()))
        self.largest = max(self.largest, float(raw.max()))
        far = (numbers < low - WIDTHS * width) | (numbers > high + WIDTHS * width)
        self.far += int(far.any(1).sum())
        places = observed.nonzero()[:, 0]
        for row, column in far.nonzero()[: MOST_LISTED - len(self.listed)].tolist():
            self.listed.append((number(int(places[row])), float(self.modality.write(numbers[row])[column])))

    def clamp(self, values: Tensor) -> Tensor:
        """Clamps numbers of the modality, see the function `clamp`."""
        if self.range is None:
            return values
        low, high = self.range
        width = WIDTHS * (high - low)
        return torch.maximum(torch.minimum(values, (high + width).to(values)), (low - width).to(values))

    def format_message(self, name: str) -> str | None:
        """Returns a message if numbers are far outside, else None.

        Arguments:
            name: Name of the modality.
        """
        if self.outside >= 2 and self.outside > self.seen / 2:
            return (
                f"{name!r}: {self.outside:,} of {self.seen:,} rows lie far outside of the training rows' range, "
                f"{_span(self.modality)}; they go from {self.smallest:.5g} to {self.largest:.5g}: if they are in "
                "another unit, convert them; predictions from them are not reliable"
            )
        if not self.far:
            return None
        listed = ", ".join(f"{value:.5g} in row {row}" for row, value in self.listed)
        rest = ", ..." if self.far > len(self.listed) else ""
        rows = "row lies" if self.far == 1 else "rows lie"
        return (
            f"{name!r}: {self.far:,} {rows} far outside of the training rows' range, {_span(self.modality)}: {listed}"
            f"{rest}; predictions from them are not reliable"
        )


def clamp(modality: Modality, values: Tensor) -> Tensor:
    """Clamps numbers that are far outside to the limits a - 10 w and b + 10 w; all others do not change.

    Arguments:
        modality: Modality of the values.
        values: Values as scaled in tables, `(B, *shape)`.

    Example:
        >>> from polymodal.modalities import Vector
        >>> clamp(Vector(1, limits=((0.0, 2.0),)), torch.tensor([[1.5], [22.0], [1e30]]))
        tensor([[ 1.5000],
                [22.0000],
                [22.0000]])
    """
    return Outliers(modality).clamp(values)


def _range(modality: Modality) -> tuple[Tensor, Tensor] | None:
    """Returns the smallest and the largest numbers of the training rows as scaled in tables, `(size,)` float64 each.

    A number that is constant in the training rows gets a range of width 1.
    """
    from polymodal.modalities import Vector

    if not isinstance(modality, Vector) or modality.limits is None:
        return None
    low, high = (
        modality.standardise(end).double() for end in torch.tensor(modality.limits, dtype=torch.float64).unbind(1)
    )
    return low, torch.where(high > low, high, low + 1)


def _span(modality: Modality) -> str:
    """Returns the training range in the original units; of a vector, the ranges of the first 3 numbers."""
    from polymodal.modalities import Vector

    assert isinstance(modality, Vector)
    pairs = [f"{low:.5g} to {high:.5g}" for low, high in modality.limits or ()]
    return ", ".join(pairs[:MOST_LISTED]) + (", ..." if len(pairs) > MOST_LISTED else "")
