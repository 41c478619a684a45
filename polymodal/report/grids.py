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
from polymodal.report.figures import Picture, picture
from polymodal.runtime.seeding import own_streams

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.modalities import Modality
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["Cell", "Grid", "Line", "choose", "inputs", "posterior_samples", "samples", "translations"]

POOL = 4096
"""Maximum number of rows that examples are chosen from."""
LETTERS = 160
"""Maximum number of characters of a printed value."""
ROWS, SAMPLES = 3, 6
"""Number of rows with posterior samples, and number of samples per row."""


class Cell(NamedTuple):
    """Value on the page: an image, a text, or neither if it is missing."""

    text: str | None = None
    picture: Picture | None = None
    alt: str = ""
    right: bool | None = None


class Line(NamedTuple):
    """Cells with one heading."""

    head: str
    cells: list[Cell]
    truth: bool = False


class Grid(NamedTuple):
    """Lines of cells with a column per example."""

    name: str
    about: str
    columns: list[str]
    lines: list[Line]


def choose(table: Table, examples: int, seed: int) -> list[int]:
    """Chooses rows to show: those with the fewest missing values, balanced over the classes of the first label."""
    pool = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:POOL]
    missing = (~table.observed[pool]).sum(1).tolist()
    label = next((name for name in list_label_modalities(table.schema) if name in table.values), None)
    classes = pool if label is None else _classes(table, label)[pool]
    seen: dict[int, int] = {}
    keys = []
    for place, (lacks, number) in enumerate(zip(missing, classes.tolist(), strict=True)):
        seen[number] = seen.get(number, 0) + 1
        keys.append((lacks, seen[number], place))
    return sorted(int(pool[place]) for *_, place in sorted(keys)[:examples])


def _classes(table: Table, label: str) -> Tensor:
    """Returns the classes of the rows, `(N,)`; -1 for missing labels."""
    return torch.where(table.observed[:, table.schema.index(label)], table.values[label], -1)


def inputs(schema: Schema, batch: Batch, columns: list[str]) -> Grid:
    """Returns a grid of the input values of the rows."""
    lines = [Line(name, _truth(schema, name, batch)) for name in select_shown_modalities(schema)]
    return Grid("What the rows hold", "", columns, lines)


def translations(model: Model, batch: Batch, columns: list[str]) -> list[Grid]:
    """Returns a grid per modality: the truth, then predictions given all others, each single other, and all."""
    schema, names = model.schema, select_shown_modalities(model.schema)
    singles = torch.eye(len(schema), dtype=torch.bool)[[schema.index(name) for name in names]]
    z, enough = encode(model, batch, torch.cat([torch.ones_like(singles[:1]), ~singles, singles]))
    grids = []
    for place, name in enumerate(names):
        others = [place] if len(schema) > 1 else []
        sources = [source for source in range(len(names)) if source != place]
        indices = [*(1 + m for m in others), *(1 + len(names) + source for source in sources), 0]
        heads = ["all the others" for _ in others] + [f"{names[source]} alone" for source in sources]
        lines = _lines(model, name, batch, [*heads, "all (reconstruction)"], z[indices], enough[indices])
        grids.append(Grid(name, describe_modality(schema[name]), columns, lines))
    return grids


def samples(model: Model, number: int, seed: int) -> Grid:
    """Returns a grid of unconditional samples; PyTorch's global random state is not changed."""
    with own_streams(seed):
        values = model.sample(number, select_shown_modalities(model.schema))
    lines = [
        Line(name, [_cell(model.schema[name], value, f"{name} of a sample") for value in column])
        for name, column in values.items()
    ]
    return Grid("Samples", "", [str(1 + column) for column in range(number)], lines)


def posterior_samples(model: Model, batch: Batch, columns: list[str], seed: int) -> list[Grid]:
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
            modality, true = model.schema[name], _truth(model.schema, name, row)
            values = [point[name][0], *made[name][:, 0]]
            cells = [_cell(modality, value, f"{name}, sampled") for value in values]
            cells = [Cell()] * len(cells) if name == source else _mark_correct(cells, true * len(cells), modality)
            lines.append(Line(name, [*true, *cells]))
        heads = ["the truth", "prediction", *(f"sample {number + 1}" for number in range(SAMPLES))]
        grids.append(Grid(f"{column}, given {source}", "", heads, lines))
    return grids


def describe_modality(modality: Modality) -> str:
    """Returns the type and shape of a modality as text."""
    shape = " \N{MULTIPLICATION SIGN} ".join(map(str, modality.shape))
    return f"{type(modality).__name__.lower()} {shape}".strip()


def _lines(model: Model, name: str, batch: Batch, heads: list[str], z: Tensor, enough: Tensor) -> list[Line]:
    """Returns the truth and the predictions from codes `(Q, B, code_dim)`; `enough` (Q, B) is false for empty cells."""
    modality = model.schema[name]
    with answering(model):
        values = modality.value(model.decode(z, [name])[name])
    truth = _truth(model.schema, name, batch)
    lines = [Line("the truth", truth, truth=True)]
    for head, answers, able in zip(heads, values, enough.tolist(), strict=True):
        cells = [
            _cell(modality, answer, f"{name} from {head}") if here else Cell()
            for answer, here in zip(answers, able, strict=True)
        ]
        lines.append(Line(head, _mark_correct(cells, truth, modality)))
    return lines


def _truth(schema: Schema, name: str, batch: Batch) -> list[Cell]:
    has = batch.observed[:, schema.index(name)].tolist()
    return [
        _cell(schema[name], batch.values[name][row], f"{name}, the truth") if here else Cell()
        for row, here in enumerate(has)
    ]


def _mark_correct(cells: Sequence[Cell], truth: Sequence[Cell], modality: Modality) -> list[Cell]:
    if modality.metric != "acc":
        return list(cells)
    return [
        cell._replace(right=cell.text == true.text) if cell.text is not None and true.text is not None else cell
        for cell, true in zip(cells, truth, strict=True)
    ]


def _cell(modality: Modality, value: Tensor, alt: str) -> Cell:
    import PIL.Image

    value = value.cpu()
    seen = modality.draw(value)
    if isinstance(seen, PIL.Image.Image):
        return Cell(picture=picture(seen), alt=alt)
    text = " ".join(str(seen).split()) or "(empty)"
    return Cell(text=text if len(text) <= LETTERS else text[:LETTERS] + " ...", alt=alt)
