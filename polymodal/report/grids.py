"""Grids of values: inputs, translations, posterior samples and unconditional samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polymodal.evaluation.coherence.labels import list_label_modalities
from polymodal.evaluation.subsets import select_shown_modalities
from polymodal.inference.passes import encode
from polymodal.models.base import Model, answering
from polymodal.report.figures import Thumbnail, make_thumbnail
from polymodal.runtime.seeding import own_streams

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.modalities import Modality
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["build_input_grid", "build_posterior_grids", "build_sample_grid", "build_translation_grids", "choose_rows"]

POOL = 4096
"""Maximum number of rows that examples are chosen from."""
LETTERS = 160
"""Maximum number of characters of a printed value."""
ROWS, SAMPLES = 3, 6
"""Number of rows with posterior samples, and number of samples per row."""


class GridCell(NamedTuple):
    """Value on the page: an image, a text, or neither if it is missing."""

    text: str | None = None
    image: Thumbnail | None = None
    alt: str = ""
    correct: bool | None = None


class GridRow(NamedTuple):
    """Cells with one heading."""

    head: str
    cells: list[GridCell]
    truth: bool = False


class Grid(NamedTuple):
    """Lines of cells with a column per example."""

    name: str
    about: str
    columns: list[str]
    lines: list[GridRow]


def choose_rows(table: Table, examples: int, seed: int) -> list[int]:
    """Chooses rows to show: those with the fewest missing values, balanced over the classes of the first label."""
    pool = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:POOL]
    missing = (~table.observed[pool]).sum(1).tolist()
    label = next((name for name in list_label_modalities(table.schema) if name in table.values), None)
    classes = pool if label is None else _classes(table, label)[pool]
    counts: dict[int, int] = {}
    keys = []
    for place, (absent, number) in enumerate(zip(missing, classes.tolist(), strict=True)):
        counts[number] = counts.get(number, 0) + 1
        keys.append((absent, counts[number], place))
    return sorted(int(pool[place]) for *_, place in sorted(keys)[:examples])


def _classes(table: Table, label: str) -> Tensor:
    """Returns the classes of the rows, `(N,)`; -1 for missing labels."""
    return torch.where(table.observed[:, table.schema.index(label)], table.values[label], -1)


def build_input_grid(schema: Schema, batch: Batch, columns: list[str]) -> Grid:
    """Returns a grid of the input values of the rows."""
    lines = [GridRow(name, _build_true_cells(schema, name, batch)) for name in select_shown_modalities(schema)]
    return Grid("Observed values", "", columns, lines)


def build_translation_grids(model: Model, batch: Batch, columns: list[str]) -> list[Grid]:
    """Returns a grid per modality: the true values, then predictions given all others, each single other, and all."""
    schema, names = model.schema, select_shown_modalities(model.schema)
    singles = torch.eye(len(schema), dtype=torch.bool)[[schema.index(name) for name in names]]
    z, enough = encode(model, batch, torch.cat([torch.ones_like(singles[:1]), ~singles, singles]))
    grids = []
    for place, name in enumerate(names):
        others = [place] if len(schema) > 1 else []
        sources = [source for source in range(len(names)) if source != place]
        indices = [*(1 + m for m in others), *(1 + len(names) + source for source in sources), 0]
        heads = ["given all others" for _ in others] + [f"given {names[source]} alone" for source in sources]
        lines = _build_rows(model, name, batch, [*heads, "given all (reconstruction)"], z[indices], enough[indices])
        grids.append(Grid(name, describe_modality(schema[name]), columns, lines))
    return grids


def build_sample_grid(model: Model, number: int, seed: int) -> Grid:
    """Returns a grid of unconditional samples; PyTorch's global random state is not changed."""
    with own_streams(seed):
        values = model.sample(number, select_shown_modalities(model.schema))
    lines = [
        GridRow(name, [_build_cell(model.schema[name], value, f"{name} of a sample") for value in column])
        for name, column in values.items()
    ]
    return Grid("Samples", "", [str(1 + column) for column in range(number)], lines)


def build_posterior_grids(model: Model, batch: Batch, columns: list[str], seed: int) -> list[Grid]:
    """Returns a grid of posterior samples for each of the first rows, given the first observed modality.

    The list is empty for models without a distribution over codes, and for a single modality.
    """
    if model.deterministic or len(model.schema) < 2:
        return []
    grids, names = [], select_shown_modalities(model.schema)
    for place, column in enumerate(columns[:ROWS]):
        row, observed = batch[place : place + 1], batch.observed[place]
        source = next((name for name in names if observed[model.schema.index(name)]), None)
        if source is None:
            continue
        point = model.translate(row, [source], names)
        made = model.translate(row, [source], names, samples=SAMPLES, seed=seed)
        lines = []
        for name in names:
            modality, true = model.schema[name], _build_true_cells(model.schema, name, row)
            values = [point[name][0], *made[name][:, 0]]
            cells = [_build_cell(modality, value, f"{name}, sampled") for value in values]
            cells = (
                [GridCell("given")] * len(cells)
                if name == source
                else _mark_correct(cells, true * len(cells), modality)
            )
            lines.append(GridRow(name, [*true, *cells]))
        heads = ["true value", "prediction", *(f"sample {number + 1}" for number in range(SAMPLES))]
        grids.append(Grid(f"{column}, given {source}", "", heads, lines))
    return grids


def describe_modality(modality: Modality) -> str:
    """Returns the type and shape of a modality as text."""
    shape = " \N{MULTIPLICATION SIGN} ".join(map(str, modality.shape))
    return f"{type(modality).__name__.lower()} {shape}".strip()


def _build_rows(model: Model, name: str, batch: Batch, heads: list[str], z: Tensor, enough: Tensor) -> list[GridRow]:
    """Returns true values and predictions from codes `(Q, B, code_dim)`; `enough` (Q, B) is false for empty cells."""
    modality = model.schema[name]
    with answering(model):
        values = modality.value(model.decode(z, [name])[name])
    truth = _build_true_cells(model.schema, name, batch)
    lines = [GridRow("true values", truth, truth=True)]
    for head, predictions, available in zip(heads, values, enough.tolist(), strict=True):
        cells = [
            _build_cell(modality, prediction, f"{name} {head}") if here else GridCell()
            for prediction, here in zip(predictions, available, strict=True)
        ]
        lines.append(GridRow(head, _mark_correct(cells, truth, modality)))
    return lines


def _build_true_cells(schema: Schema, name: str, batch: Batch) -> list[GridCell]:
    has = batch.observed[:, schema.index(name)].tolist()
    return [
        _build_cell(schema[name], batch.values[name][row], f"{name}, true value") if here else GridCell()
        for row, here in enumerate(has)
    ]


def _mark_correct(cells: Sequence[GridCell], truth: Sequence[GridCell], modality: Modality) -> list[GridCell]:
    if modality.levels is None or modality.shape:
        return list(cells)
    return [
        cell._replace(correct=cell.text == true.text) if cell.text is not None and true.text is not None else cell
        for cell, true in zip(cells, truth, strict=True)
    ]


def _build_cell(modality: Modality, value: Tensor, alt: str) -> GridCell:
    import PIL.Image

    value = value.cpu()
    shown = modality.draw(value)
    if isinstance(shown, PIL.Image.Image):
        return GridCell(image=make_thumbnail(shown), alt=alt)
    text = " ".join(str(shown).split()) or "(empty)"
    return GridCell(text=text if len(text) <= LETTERS else text[:LETTERS] + " ...", alt=alt)
