"""Map of codes under several conditionings, projected to their two principal axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from polymodal.evaluation.codes import compute_principal_components
from polymodal.evaluation.coherence.labels import list_label_modalities
from polymodal.evaluation.subsets import list_conditionings
from polymodal.inference.passes import encode
from polymodal.report import figures

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["build_code_map"]

PANELS = 9
"""Maximum number of conditionings, each of which has a panel."""
ROWS = 500
"""Maximum number of rows on the map."""
OVERLAY = 400
"""Side of the panel with all codes, in pixels."""


class Legend(NamedTuple):
    """Legend entry of a marker on the map."""

    name: str
    style: int
    color: str
    points: str


class Panel(NamedTuple):
    """Codes of the rows under one conditioning."""

    given: str
    rows: int
    image: str


class Map(NamedTuple):
    """Codes under several conditionings on the same two axes; `share` is the explained share of the variance."""

    panels: list[Panel]
    overlay: str
    classes: list[Legend]
    subsets: list[Legend]
    label: str | None
    rows: int
    share: float


def build_code_map(model: Model, table: Table, seed: int) -> Map | None:
    """Returns a map of the codes of up to 500 rows on their two principal axes; None if all codes are equal."""
    rows = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:ROWS]
    batch = table[rows]
    subsets = {
        name: given
        for name, given in list_conditionings(model.schema, PANELS).items()
        if (batch.observed & given).any()
    }
    z, enough = encode(model, batch, torch.stack(list(subsets.values())))
    z, enough = z.float().cpu(), enough.cpu()
    if not z[enough].std(0, correction=0).any():
        return None
    points = np.full((*enough.shape, 2), np.nan)
    points[enough.numpy()], share = compute_principal_components(z[enough].numpy())
    label = next(iter(list_label_modalities(model.schema)), None)
    style, classes = _assign_styles(model.schema, batch, label)
    limits = figures.compute_limits(points[enough.numpy()])
    panels = [
        Panel(name, int(has.sum()), figures.plot_points(at[has], style[has], limits))
        for name, at, has in zip(subsets, points, enough.numpy(), strict=True)
    ]
    which = np.broadcast_to(np.arange(len(subsets))[:, None], enough.shape)
    overlay = figures.plot_points(points[enough.numpy()], which[enough.numpy()], limits, OVERLAY)
    return Map(panels, overlay, classes, _build_legends(list(subsets)), label, len(rows), share)


def _assign_styles(schema: Schema, batch: Batch, label: str | None) -> tuple[np.ndarray, list[Legend]]:
    """Returns the style of each row by its class, `(B,)`, and the legend; rare classes share a style."""
    if label is None:
        return np.zeros(len(batch), int), []
    known = batch.observed[:, schema.index(label)].numpy()
    value = schema.hide(batch, torch.float32)[label].numpy()
    classes, counts = np.unique(value[known], return_counts=True)
    named = sorted(classes[np.argsort(-counts, kind="stable")][: figures.STYLES])
    style = np.full(len(batch), figures.OTHER)
    for index, number in enumerate(named):
        style[value == number] = index
    legends = _build_legends([str(schema[label].show(torch.tensor(number))) for number in named])
    if (style == figures.OTHER).any():
        rest = "no label" if len(named) == len(classes) else "other classes" if known.all() else "other or no label"
        legends.append(Legend(rest, figures.OTHER, *figures.make_swatch(figures.OTHER)))
    return style, legends


def _build_legends(names: Sequence[str]) -> list[Legend]:
    return [Legend(name, style, *figures.make_swatch(style)) for style, name in enumerate(names)]
