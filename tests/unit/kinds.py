"""Rows whose class shows in some modalities, a model that gives back what it is shown, and scores by hand."""

import torch

from polymodal.distributions import Dirac
from polymodal.evaluation import METRICS
from polymodal.modalities import Image, Label, Vector
from polymodal.models import Model
from polymodal.schema import Schema
from polymodal.table.table import Table

CLASSES = 3
SCHEMA = Schema(
    {
        "picture": Image(1, 9, 9, widths=(4, 8)),
        "vector": Vector(CLASSES, hidden=(16,)),
        "noise": Vector(4, hidden=(16,)),
        "kind": Label(CLASSES),
    }
)
UNNAMED = Schema({name: SCHEMA[name] for name in ("picture", "vector", "noise")})
"""The same where no modality is the class."""


def values_of(rows=400, seed=0):
    """The class shows in a picture's brightest third and in a vector's largest element, but not in noise."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(CLASSES, (rows,), generator=generator)
    picture = torch.rand(rows, 1, 9, 9, generator=generator) * 120
    for row, c in enumerate(kind.tolist()):
        picture[row, :, 3 * c : 3 * c + 3] += 120
    vector = torch.randn(rows, CLASSES, generator=generator)
    vector[torch.arange(rows), kind] += 6
    noise = torch.randn(rows, 4, generator=generator)
    return {"picture": picture.byte(), "vector": vector, "noise": noise, "kind": kind}


def table_of(schema=SCHEMA, rows=400, seed=0, values=None, **arguments):
    """With the class as a modality where the schema has one, else as the rows' labels."""
    values = values_of(rows, seed) if values is None else values
    labels = None if "kind" in schema else values["kind"]
    return Table({name: values[name] for name in schema}, schema=schema, labels=labels, **arguments)


class Mirror(Model):
    """Its code holds all true values of a row, whatever is given; its prior draws the rows of a table in turn."""

    deterministic = True

    def __init__(self, schema, drawn=None):
        super().__init__(schema, 1, "sum")
        self.sizes = [max(1, modality.blank.numel()) for modality in schema.values()]
        self.drawn = drawn

    @property
    def code_dim(self):
        return sum(self.sizes)

    @property
    def prior(self):
        return Turns(self._codes(self.drawn))

    def encode(self, batch, given=None):
        b = self.condition(batch.observed, given)
        return Dirac(self._codes(batch).expand(*b.shape[:-1], -1))

    def loss(self, batch, *, progress=1.0):
        raise NotImplementedError

    def emit(self, z, only=None):
        made = {}
        for (name, modality), part in zip(self.schema.items(), z.split(self.sizes, -1), strict=True):
            if only is None or name in only:
                numbers = part.unflatten(-1, modality.shape) if modality.shape else part[..., 0]
                made[name] = numbers
                if modality.levels is not None:
                    made[name] = 50.0 * torch.nn.functional.one_hot(numbers.long(), modality.levels)
        return made

    def _codes(self, batch):
        prepared = self.schema.hide(batch, self.weight.dtype)
        return torch.cat([x.flatten(1) if x.dim() > 1 else x[:, None].float() for x in prepared.values()], dim=1)


class Turns:
    """Codes `(N, D)`, one after the other and again from the first."""

    def __init__(self, codes):
        self.codes = codes

    def sample(self, shape):
        return self.codes[torch.arange(*shape) % len(self.codes)]


def by_hand(model, table, metric, target, given):
    """A score over the rows that have the target and something of what is given, translated row by row."""
    schema, score = model.schema, METRICS[metric]()
    truth = schema.hide(table, torch.float32)[target]
    for row in range(len(table)):
        observed = table.observed[row]
        if observed[schema.index(target)] and (observed & schema.mask(given)).any():
            batch = table[row]
            score.update(model.predict(batch, given, [target])[target], truth[row : row + 1])
    return score.compute(), int(score.rows)


def of(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def value(frame, **where):
    return of(frame, **where)["value"].item()
