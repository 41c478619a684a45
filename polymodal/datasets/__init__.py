"""Data sets. To add one: a file here, and a line in DATASETS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polymodal.datasets.base import Dataset
from polymodal.datasets.polydigits import polydigits
from polymodal.names import lookup

__all__ = ["DATASETS", "Dataset", "load"]

DATASETS: dict[str, Callable[..., Dataset]] = {"polydigits": polydigits}
"""Data sets by name."""


def load(name: str, **arguments: Any) -> Dataset:
    """A data set by its name.

    Arguments:
        name: One of DATASETS.
        **arguments: The data set's own.

    Returns:
        The data set: `.schema`, `.train`, `.validation`, `.test`.

    Raises:
        ValueError: There is no such data set.

    Example:
        >>> load("polydigits", rows=100, held_out_rows=50).schema["m0"].shape
        (3, 16, 16)
    """
    return lookup(DATASETS, name, "data set")(**arguments)
