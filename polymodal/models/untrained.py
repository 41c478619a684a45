"""Warnings about modalities that no training row had."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polymodal.batch import Batch

if TYPE_CHECKING:
    from polymodal.models.base import Model
    from polymodal.models.given import Given

__all__ = ["tell_untrained", "warn_of_untrained"]


def tell_untrained(names: Sequence[str]) -> str:
    """Returns the warning that no training row has these modalities, and what to do about it.

    Example:
        >>> tell_untrained(["photo"]).partition(";")[0]
        "no training row has 'photo': predictions from it and of it are arbitrary"
    """
    listed, it = ", ".join(map(repr, names)), "it" if len(names) == 1 else "them"
    return (
        f"no training row has {listed}: predictions from {it} and of {it} are arbitrary; train on rows that have {it}, "
        f"or leave {it} out of the schema"
    )


def warn_of_untrained(model: Model, batch: Batch, given: Given, to: list[str] | None) -> None:
    """Warns if modalities that no training row had are used as inputs or targets."""
    if not model.untrained:
        return
    schema = model.schema
    used = schema.mask([*given]) if isinstance(given, list | tuple) else batch.observed.any(0).cpu()
    names = [name for name in model.untrained if used[schema.index(name)] or name in (to or ())]
    if names:
        warnings.warn(tell_untrained(names), RuntimeWarning, stacklevel=3)
