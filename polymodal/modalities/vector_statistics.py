"""The numbers of vectors: reads them from cells, and learns their units and ranges from training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.modalities.cells import CellError, missing, numbers, one_by_one
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_list

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["are_limits", "find_limits", "learn_units", "read_numbers", "standardise_rows", "to_numbers"]


def read_numbers(*cells: pd.Series, size: int | None) -> Tensor:
    """Reads vectors from cells, `(N, size)` float64; NaN where a number is missing.

    Arguments:
        *cells: The columns of N cells.
        size: Number of elements of the lists in a single column; None for columns of numbers.

    Raises:
        CellError: A cell is not a finite number, or not a list of `size` of them.

    Example:
        >>> import pandas as pd
        >>> read_numbers(pd.Series([[1.0, None], None]), size=2).tolist()
        [[1.0, nan], [nan, nan]]
    """
    if size is None:
        return torch.stack([torch.from_numpy(numbers(column)) for column in cells], dim=1)

    def read(cell: Any) -> Tensor:
        value = torch.as_tensor([nan if number is None else float(number) for number in cell], dtype=torch.float64)
        if len(value) != size:
            raise ValueError(f"a list must have {size} numbers, as those of training have; got {len(value)}")
        if value.isinf().any():
            raise ValueError(f"numbers must be finite; got {value.tolist()}")
        return value

    nothing, blank = missing(cells[0]), torch.zeros(size, dtype=torch.float64)
    return one_by_one(cells[0], nothing, blank, read).masked_fill(torch.from_numpy(nothing)[:, None], nan)


def to_numbers(name: str, values: Sequence[Any], size: int) -> tuple[float, ...]:
    """Converts an argument of a vector to `size` floats.

    Raises:
        TypeError: It is not a list of numbers.
        ValueError: It is not a list of numbers, or has another length.

    Example:
        >>> to_numbers("center", [1, 2], 2)
        (1.0, 2.0)
    """
    check_list(name, values, "numbers", "[0.5]")
    try:
        converted = tuple(float(number) for number in values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must be a list of numbers; got {brief(repr(values), 60)}") from error
    if len(converted) != size:
        raise ValueError(f"{name} must have {size} numbers, one for each; got {len(converted)}")
    return converted


def learn_units(raw: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and the standard deviation of each number over the rows that have it.

    Arguments:
        raw: Numbers, `(N, size)` float64; NaN where they are missing.

    Returns:
        The means, 0 for a number that no row has; and the standard deviations, 1 for a number that does not vary.

    Example:
        >>> learn_units(torch.tensor([[1.0, 7.0], [3.0, 7.0], [torch.nan, 7.0]]).double())
        ((2.0, 7.0), (1.0, 1.0))
    """
    largest = raw.nan_to_num().abs().amax(0).clamp(min=1e-300)  # prevents overflow of the squares
    raw = raw / largest
    center = raw.nanmean(0).nan_to_num()
    scale = (raw - center).square().nanmean(0).nan_to_num().sqrt()
    varies = raw.nan_to_num(torch.inf).amin(0) < raw.nan_to_num(-torch.inf).amax(0)
    scale = torch.where(varies & (scale * largest > 0), scale * largest, 1.0)
    return tuple((center * largest).tolist()), tuple(scale.tolist())


def find_limits(raw: Tensor) -> tuple[tuple[float, float], ...] | None:
    """Returns the smallest and the largest value of each number `(N, size)`; None if a number is always missing.

    Example:
        >>> find_limits(torch.tensor([[1.0, 7.0], [3.0, torch.nan]]).double())
        ((1.0, 3.0), (7.0, 7.0))
    """
    if not (~raw.isnan()).any(0).all():
        return None
    low, high = raw.nan_to_num(torch.inf).amin(0), raw.nan_to_num(-torch.inf).amax(0)
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def are_limits(limits: tuple[tuple[float, float], ...], size: int, *, log: bool) -> bool:
    """Returns whether limits are `size` pairs of numbers in ascending order, above -1 if logarithms are taken of them.

    Example:
        >>> are_limits(((0.0, 1.0),), 1, log=True), are_limits(((1.0, 0.0),), 1, log=False)
        (True, False)
    """
    pairs = len(limits) == size and all(len(pair) == 2 and pair[0] <= pair[1] for pair in limits)
    return pairs and not (log and min(low for low, _ in limits) <= -1)


def standardise_rows(raw: Tensor, has: Tensor, standardise: Callable[[Tensor], Tensor]) -> Tensor:
    """Converts numbers in users' units to a table's units, `(N, size)`.

    Arguments:
        raw: Numbers in users' units, `(N, size)` float64; NaN where they are missing.
        has: Mask of observed rows, `(N,)` bool; the numbers of the others are ignored.
        standardise: Function from users' units to a table's units.

    Raises:
        CellError: A number has no logarithm, or is too large in a table's units.
    """
    try:
        values = standardise(torch.where(has[:, None], raw, 0.0))
    except ValueError as error:
        raise CellError(int((raw <= -1).any(1).nonzero()[0]), error) from error
    if len(far := (has & values.isinf().any(1)).nonzero()):
        row = int(far[0])
        raise CellError(row, f"numbers must be below 3e38 units of training; got {raw[row].tolist()}; correct them")
    return values
