"""Data sets, registered by name.

To add a data set, write a module with a function that returns a `Dataset`, and add the function to `DATASETS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from polymodal.datasets.base import Dataset
from polymodal.datasets.celeba import celeba
from polymodal.datasets.cub import cub
from polymodal.datasets.emoji import emoji
from polymodal.datasets.emoji_attributes import emoji_attributes
from polymodal.datasets.mhd import mhd
from polymodal.datasets.pendigits_mhd import pendigits_mhd
from polymodal.datasets.polydigits import polydigits
from polymodal.datasets.polymnist import polymnist
from polymodal.datasets.user_tables import table
from polymodal.runtime.registry import lookup
from polymodal.runtime.validation import check_arguments, check_types

__all__ = ["DATASETS", "Dataset", "load"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "polydigits": polydigits,
    "polymnist": polymnist,
    "mhd": mhd,
    "cub": cub,
    "celeba": celeba,
    "pendigits-mhd": pendigits_mhd,
    "emoji": emoji,
    "emoji-attributes": emoji_attributes,
    "table": table,
}
"""Functions that load the data sets, by name."""


def load(name: str, **arguments: Any) -> Dataset:
    """Loads a data set by name.

    Arguments:
        name: Name of the data set, one of `DATASETS`.
        **arguments: Arguments of the data set's function.

    Returns:
        The data set, with the attributes `.schema`, `.train`, `.validation`, and `.test`.

    Raises:
        ValueError: The name or an argument is unknown, or an argument has the wrong type.

    Example:
        >>> load("polydigits", rows=100, held_out_rows=50).schema["m0"].shape
        (3, 16, 16)
    """
    make = lookup(DATASETS, name, "data set")
    check_arguments(arguments, inspect.signature(make).parameters, name)
    check_types(arguments, make, name)
    return make(**{key: value.item() if hasattr(value, "item") else value for key, value in arguments.items()})
