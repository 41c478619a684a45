"""What a model makes of nothing, beside what is there: classes that agree, and the distance of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from polymodal.evaluation.coherence.agreement import agreement, variation
from polymodal.evaluation.frame import line
from polymodal.evaluation.frechet import Features, Moments, frechet_distance
from polymodal.inference.streaming import answered
from polymodal.modalities import Image
from polymodal.models.base import Model, answering
from polymodal.runtime.seeding import own_streams

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from polymodal.evaluation.coherence.classifier import Verifiers
    from polymodal.evaluation.coherence.labels import Classes
    from polymodal.modalities import Modality
    from polymodal.table.table import Table

__all__ = ["Looked", "coherence", "colours", "distances", "drawn", "held", "score_classifiers"]

MOST = 50_000
"""Rows that are drawn, at most."""


class Looked:
    """What verifiers make of values of all modalities, batch by batch.

    Arguments:
        verifiers: That look.
        features: That look at pictures as well; None if nothing does.

    Attributes:
        said: The values' classes by modality, batch by batch.
        seen: Moments of the verifiers' features by modality.
        pictured: Of the pictures' features.
    """

    def __init__(self, verifiers: Verifiers, features: Features | None = None) -> None:
        self.verifiers, self.features = verifiers, features
        self.said: dict[str, list[Tensor]] = {name: [] for name in verifiers.judged}
        self.seen = {name: Moments() for name in verifiers.columns}
        self.pictured = {name: Moments() for name, one in verifiers.schema.items() if features and colours(one)}

    def look(self, name: str, values: Tensor) -> None:
        """Takes values of a modality, `(N, *shape)`."""
        if name in self.pictured and self.features is not None:
            self.pictured[name].add(
                self.features(_coloured(self.verifiers.schema[name].prepare(values, torch.float32)))
            )
        if name in self.seen:
            features = self.verifiers.features(name, values)
            self.seen[name].add(features)
            self.said[name].append(self.verifiers.told(name, features).cpu())
        elif name in self.said:
            self.said[name].append(values.cpu())


def held(table: Table, verifiers: Verifiers, features: Features | None, batch_size: int) -> Looked:
    """What verifiers make of a table's true values, of the rows that have them."""
    looked = Looked(verifiers, features)
    for batch in table.batches(batch_size, device=verifiers.device):
        for column, name in enumerate(table.schema):
            if name in batch.values and (has := batch.observed[:, column]).any():
                looked.look(name, batch.values[name][has])
    return looked


def drawn(
    model: Model,
    prior: Distribution,
    verifiers: Verifiers,
    features: Features | None,
    rows: int,
    batch_size: int,
    seed: int,
) -> Looked:
    """What verifiers make of so many rows that a model decodes from samples of a prior, at most 50,000."""
    looked = Looked(verifiers, features)
    with answering(model):
        with own_streams(seed):
            codes = prior.sample(torch.Size([min(rows, MOST)]))
        for z in codes.split(batch_size):
            every = torch.arange(len(z), device=z.device)
            for name in model.schema:
                for distribution, _ in answered(model, name, z, every):
                    looked.look(name, model.schema[name].value(distribution))
    return looked


def score_classifiers(true: Looked, table: Table, classes: Classes) -> list[dict[str, Any]]:
    """Scores how often classifiers are right about true values, as lines of scores."""
    lines = []
    for name in true.seen:
        if true.said[name]:
            of = classes.values[table.observed[:, table.schema.index(name)].cpu()]
            right = (torch.cat(true.said[name]) == of)[of >= 0].double()
            lines.append(
                line("coherence", name, "the truth", "verifier-acc", "higher", 100 * float(right.mean()), len(right))
            )
    return lines


def coherence(made: Looked, given: str, classes: Classes) -> list[dict[str, Any]]:
    """How often all modalities of a sample are of one class, and how often each class occurs, as lines of scores."""
    lines = []
    said = {name: torch.cat(parts) for name, parts in made.said.items() if parts}
    if len(said) > 1:
        every = torch.stack([*said.values()])
        lines.append(line("coherence", "all", given, "coherence", "higher", agreement(every), every.shape[1]))
    known = classes.values[classes.values >= 0].bincount(minlength=classes.number)
    for name, some in said.items():
        counts = some.bincount(minlength=classes.number)
        lines.append(line("calibration", name, given, "tv", "lower", variation(counts, known), len(some)))
    return lines


def distances(true: Looked, made: Looked, given: str) -> list[dict[str, Any]]:
    """Fréchet distances between true values and samples, as lines of scores."""
    pairs = [("frechet", true.seen, made.seen), ("fid", true.pictured, made.pictured)]
    return [
        line("generation", name, given, metric, "lower", _distance(one, others[name]), others[name].rows)
        for metric, every, others in pairs
        for name, one in every.items()
    ]


def _distance(one: Moments, other: Moments) -> float:
    """NaN where there are fewer than two vectors, or one is not finite."""
    if min(one.rows, other.rows) < 2:
        return float("nan")
    numbers = [part for moments in (one, other) for part in (moments.mean, moments.covariance)]
    return frechet_distance(*numbers) if all(np.isfinite(part).all() for part in numbers) else float("nan")


def colours(modality: Modality) -> bool:
    """Whether a network for photographs can take its values: pictures in colours or in grey."""
    return isinstance(modality, Image) and modality.channels in (1, 3)


def _coloured(pictures: Tensor) -> Tensor:
    """Pictures `(N, 1, H, W)` or `(N, 3, H, W)` as `(N, 3, H, W)`."""
    return pictures.expand(-1, 3, -1, -1)
