"""Describes the machine of a measurement: versions, processor, and the speed of multiplication and copying."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

from polymodal.runtime.hardware import describe_processor

__all__ = ["describe", "product", "versions"]


def versions() -> dict[str, str]:
    """Returns the versions of polymodal, PyTorch and Python."""
    return {"polymodal": version("polymodal"), "torch": torch.__version__, "python": platform.python_version()}


def describe() -> dict[str, Any]:
    """Returns the processor and its speed in fp32 with the current number of threads, each the best of five.

    Returns:
        `cpu`, the model's name if it can be had; `threads`; `gflops`, 10^9 operations per second in a product of
        square matrices; `copy_gbytes`, 10^9 bytes per second, read and written, in a copy too large for any cache.
    """
    return {
        "cpu": describe_processor(),
        "threads": torch.get_num_threads(),
        "gflops": product_rate() / 1e9,
        "copy_gbytes": copy_rate() / 1e9,
    }


def product_rate(side: int = 2048) -> float:
    """Operations per second in a product of two square matrices; a multiplication and an addition are two."""
    multiply, operations = product(side)
    return operations / _time_fastest(multiply)


def product(side: int = 2048) -> tuple[Callable[[], object], int]:
    """Returns a function that multiplies two square matrices, and the number of its operations."""
    a, b = torch.rand(2, side, side)
    return lambda: a @ b, 2 * side**3


def copy_rate(numbers: int = 2**26) -> float:
    """Bytes per second, those read and those written, in a copy of so many 32-bit numbers."""
    source, target = torch.rand(numbers), torch.zeros(numbers)
    return 2 * source.nbytes / _time_fastest(lambda: target.copy_(source))


def _time_fastest(function: Callable[[], object], repeats: int = 5) -> float:
    """Returns the shortest time of a call in seconds, after one call that is not counted."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
