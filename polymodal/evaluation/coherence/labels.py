"""Classes of rows, with which the classes of predictions are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polymodal.runtime.registry import unknown

if TYPE_CHECKING:
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["Classes", "find_label", "get_classes", "list_label_modalities"]

UNNAMED = "class"
"""Name in scores of labels that are not a modality."""


class Classes(NamedTuple):
    """The classes of a table's rows."""

    label: str | None
    """Name of the modality with the classes; None if they are `Table.labels`."""
    values: Tensor
    """Class of each row, `(N,)` int64 on the CPU; -1 if unknown."""
    number: int
    """Number of classes."""

    @property
    def name(self) -> str:
        """Name of the classes in scores."""
        return UNNAMED if self.label is None else self.label


def list_label_modalities(schema: Schema) -> list[str]:
    """Returns the names of the label modalities, whose values are one class each."""
    return [name for name, modality in schema.items() if modality.levels is not None and not modality.shape]


def find_label(table: Table, label: str | None = None) -> str | None:
    """Returns the name of the modality with the classes of the rows, or None for `Table.labels`.

    Arguments:
        table: Table of rows.
        label: Name of the modality; by default the first label modality, and without one the table's labels.

    Raises:
        ValueError: The table has no classes, or `label` is not a label modality.

    Example:
        >>> from polymodal.datasets import load
        >>> find_label(load("polydigits", rows=20, held_out_rows=10).test)
        'label'
    """
    names = list_label_modalities(table.schema)
    if label is not None:
        table.schema.index(label)  # raises an error for an unknown name
        if label not in names:
            raise unknown(label, names, "label modality")
        return label
    if not names and table.labels is None:
        raise ValueError(
            "rows must have classes for this task; these have neither a label modality nor labels; "
            "pass Table(..., labels=...), or leave out coherence, generation and probe"
        )
    return names[0] if names else None


def get_classes(table: Table, label: str | None) -> Classes:
    """Returns the classes of the rows.

    Arguments:
        table: Table of rows.
        label: Name of the modality with the classes; None for the table's labels.

    Raises:
        ValueError: `label` is None and the table has no labels.
    """
    if label is None:
        if table.labels is None:
            raise ValueError("a table without a label modality must have labels; one has none")
        values = table.labels.cpu()
        return Classes(None, values.clamp(min=-1), 1 + int(values.max().clamp(min=-1)) if len(values) else 0)
    has, levels = table.observed[:, table.schema.index(label)], table.schema[label].levels or 0
    stored = table.values.get(label)
    values = torch.full_like(has, -1, dtype=torch.int64) if stored is None else torch.where(has, stored, -1)
    return Classes(label, values.cpu(), levels)
