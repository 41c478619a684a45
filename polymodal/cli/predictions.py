"""Predictions or samples of a model with their input rows, and the table of their values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL.Image
from torch import Tensor

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.modalities import Modality
    from polymodal.schema import Schema

__all__ = ["Predictions", "is_drawn_as_image", "tabulate_values"]


class Predictions(NamedTuple):
    """Predictions or samples of a model, with the input rows of predictions."""

    schema: Schema
    rows: list[int]
    """Numbers of the B rows."""
    values: Mapping[str, Tensor]
    """Predicted or sampled values by modality, `(S, B, *shape)`, for S samples per row."""
    truth: Batch | None = None
    """The input rows."""
    given: Tensor | None = None
    """Conditioning mask of the rows, `(B, M)` bool."""

    @property
    def samples(self) -> int:
        """Returns the number of samples per row, S."""
        return len(next(iter(self.values.values())))

    def true_value(self, name: str, place: int) -> Tensor | None:
        """Returns the true value of a modality in a row, or None where it is missing."""
        if self.truth is None or not self.truth.observed[place, self.schema.index(name)]:
            return None
        return self.truth.values[name][place]


def tabulate_values(predictions: Predictions) -> list[tuple[str, list[Any]]]:
    """Returns row numbers and all values other than images, predicted and true, in original units.

    Returns:
        Pairs of a column name and its S x B values; the samples of a row are consecutive.
    """
    several = predictions.samples > 1
    cells = [(sample, place) for place in range(len(predictions.rows)) for sample in range(predictions.samples)]
    table: list[tuple[str, list[Any]]] = [("row", [predictions.rows[place] for _, place in cells])]
    table += [("draw", [sample for sample, _ in cells])] if several else []
    for name, values in predictions.values.items():
        modality = predictions.schema[name]
        if is_drawn_as_image(modality):
            continue
        table.append((name, [_to_cell(modality, values[cell]) for cell in cells]))
        if predictions.truth is not None:
            table.append(
                (f"{name}_truth", [_to_cell(modality, predictions.true_value(name, place)) for _, place in cells])
            )
    return table


def is_drawn_as_image(modality: Modality) -> bool:
    """Returns whether values of a modality are shown as images."""
    return isinstance(modality.show(modality.blank.clamp(min=0)), PIL.Image.Image)


def _to_cell(modality: Modality, value: Tensor | None) -> Any:
    """Returns a value as a cell of a table; several numbers become a JSON list."""
    if value is None:
        return None
    raw = modality.write(value.cpu())
    raw = raw.tolist() if hasattr(raw, "tolist") else raw
    if isinstance(raw, list):
        return raw[0] if len(raw) == 1 else json.dumps([None if item != item else item for item in raw])
    return raw
