"""Two things timed in turn, so that a slow spell of the machine meets both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["interleave", "spread"]


def interleave(
    first: Callable[[int], object],
    second: Callable[[int], object],
    *,
    budget: float,
    fewest: int = 3,
    shown: Callable[[float], object] = lambda done: None,
) -> list[tuple[float, float]]:
    """Seconds of two functions called in turn: first, second, first, second, ...

    A pair that is not counted warms both up. Both functions of pair i are called with the number i, after PyTorch's
    random stream was seeded with it, so that they draw the same.

    Arguments:
        first: Called with the number of the pair, from 1; the pair that warms up is 0.
        second: Likewise.
        budget: Seconds, the warming up among them; a pair that would not fit is not begun.
        fewest: Pairs that are taken whatever the budget.
        shown: Told after each pair which share of the work is done, in [0, 1].

    Returns:
        One tuple per pair.
    """
    began = time.perf_counter()
    pairs: list[tuple[float, float]] = []
    last = _pair(first, second, 0)
    while len(pairs) < fewest or time.perf_counter() - began + sum(last) <= budget:
        last = _pair(first, second, len(pairs) + 1)
        pairs.append(last)
        shown(min(len(pairs) / fewest, (time.perf_counter() - began) / budget, 1.0))
    return pairs


def _pair(first: Callable[[int], object], second: Callable[[int], object], i: int) -> tuple[float, float]:
    return _seconds(first, i), _seconds(second, i)


def _seconds(function: Callable[[int], object], i: int) -> float:
    torch.manual_seed(i)
    began = time.perf_counter()
    function(i)
    return time.perf_counter() - began


def spread(numbers: Sequence[float]) -> dict[str, Any]:
    """The median, the quartiles and all the numbers.

    Example:
        >>> spread([1.0, 2.0, 3.0, 4.0, 10.0])
        {'median': 3.0, 'lower': 2.0, 'upper': 4.0, 'all': [1.0, 2.0, 3.0, 4.0, 10.0]}
    """
    points = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64)
    median, lower, upper = torch.tensor(numbers, dtype=torch.float64).quantile(points).tolist()
    return {"median": median, "lower": lower, "upper": upper, "all": list(numbers)}
