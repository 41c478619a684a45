"""Several things timed in turn, so that a slow spell of the machine meets them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import correlation, linear_regression
from typing import Any

import torch

__all__ = ["interleave", "line", "ratios", "spread"]


def interleave(
    *functions: Callable[[int], object],
    budget: float,
    fewest: int = 3,
    report: Callable[[float], object] = lambda done: None,
) -> list[tuple[float, ...]]:
    """Seconds of functions called in turn: of two, first, second, first, second, ...

    A round that is not counted warms all up. All functions of round i are called with the number i, after PyTorch's
    random stream was seeded with it, so that they draw the same.

    Arguments:
        functions: Each called with the number of the round, from 1; the round that warms up is 0.
        budget: Seconds, the warming up among them; a round that would not fit is not begun.
        fewest: Rounds that are taken whatever the budget.
        report: Called after each round with the share of the work that is done, in [0, 1].

    Returns:
        One tuple per round, with the seconds of each function.
    """
    began = time.perf_counter()
    rounds: list[tuple[float, ...]] = []
    last = tuple(_seconds(function, 0) for function in functions)
    while len(rounds) < fewest or time.perf_counter() - began + sum(last) <= budget:
        last = tuple(_seconds(function, len(rounds) + 1) for function in functions)
        rounds.append(last)
        report(min(len(rounds) / fewest, (time.perf_counter() - began) / budget, 1.0))
    return rounds


def _seconds(function: Callable[[int], object], i: int) -> float:
    torch.manual_seed(i)
    began = time.perf_counter()
    function(i)
    return time.perf_counter() - began


def ratios(over: Sequence[float], under: Sequence[float]) -> dict[str, Any]:
    """Returns the spread of the quotients of each round."""
    return spread([one / other for one, other in zip(over, under, strict=True)])


def spread(numbers: Sequence[float]) -> dict[str, Any]:
    """Returns the median, the quartiles and all the numbers.

    Example:
        >>> spread([1.0, 2.0, 3.0, 4.0, 10.0])
        {'median': 3.0, 'lower': 2.0, 'upper': 4.0, 'all': [1.0, 2.0, 3.0, 4.0, 10.0]}
    """
    points = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64)
    median, lower, upper = torch.tensor(numbers, dtype=torch.float64).quantile(points).tolist()
    return {"median": median, "lower": lower, "upper": upper, "all": list(numbers)}


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Returns the slope of the least-squares line and the share of the variance of y that it explains.

    Example:
        >>> line([1, 2, 4], [3.0, 5.0, 9.0])
        (2.0, 1.0)
    """
    return linear_regression(x, y).slope, correlation(x, y) ** 2
