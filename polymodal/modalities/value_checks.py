"""Checks of observed values."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_levels", "check_unit"]


def check_unit(x: Tensor) -> None:
    """Checks that all values are in [0, 1].

    Raises:
        ValueError: A value is not. The message names the first one.
    """
    wrong = (x < 0) | (x > 1)
    if wrong.any():
        raise ValueError(f"values must be in [0, 1] where observed; got {float(x[wrong][0]):g}; rescale them")


def check_levels(x: Tensor, levels: int) -> None:
    """Checks that all values are classes, integers in 0..levels - 1.

    Raises:
        ValueError: A value is not. The message names the first one.
    """
    if x.is_floating_point() or x.dtype == torch.bool:
        raise ValueError(f"classes must be integers, int64; got {x.dtype}; mark what is missing in observed")
    wrong = (x < 0) | (x >= levels)
    if wrong.any():
        raise ValueError(f"classes must be in 0..{levels - 1} where observed; got {int(x[wrong][0])}")
