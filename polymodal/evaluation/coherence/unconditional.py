"""Evaluation of unconditional samples: agreement of their classes, and Fréchet distances from true values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from polymodal.evaluation.coherence.agreement import agreement, variation
from polymodal.evaluation.frame import line
from polymodal.evaluation.frechet import Features, Moments, frechet_distance
from polymodal.inference.passes import decode_in_chunks
from polymodal.modalities import Image
from polymodal.models.base import Model, answering
from polymodal.runtime.seeding import own_streams

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from polymodal.evaluation.coherence.classifier import Verifiers
    from polymodal.evaluation.coherence.labels import Classes
    from polymodal.modalities import Modality
    from polymodal.table.table import Table

__all__ = [
    "Looked",
    "coherence",
    "colours",
    "distances",
    "measure_prior_samples",
    "measure_true_values",
    "score_classifiers",
]

MOST = 50_000
"""Maximum number of unconditional samples."""


class Looked:
    """Predicted classes and feature moments of values of all modalities, accumulated over batches.

    Arguments:
        verifiers: Classifiers of the modalities.
        features: Function that computes features of images, or None.

    Attributes:
        said: Predicted classes by modality, a list over batches.
        seen: Moments of the classifiers' features by modality.
        pictured: Moments of the images' features by modality.
    """

    def __init__(self, verifiers: Verifiers, features: Features | None = None) -> None:
        self.verifiers, self.features = verifiers, features
        self.said: dict[str, list[Tensor]] = {name: [] for name in verifiers.judged}
        self.seen = {name: Moments() for name in verifiers.columns}
        self.pictured = {name: Moments() for name, one in verifiers.schema.items() if features and colours(one)}

    def look(self, name: str, values: Tensor) -> None:
        """Adds values of a modality, `(N, *shape)`."""
        if name in self.pictured and self.features is not None:
            self.pictured[name].add(self.features(_to_rgb(self.verifiers.schema[name].prepare(values, torch.float32))))
        if name in self.seen:
            features = self.verifiers.features(name, values)
            self.seen[name].add(features)
            self.said[name].append(self.verifiers.classify_features(name, features).cpu())
        elif name in self.said:
            self.said[name].append(values.cpu())


def measure_true_values(table: Table, verifiers: Verifiers, features: Features | None, batch_size: int) -> Looked:
    """Returns the classes and moments of a table's true values, for the rows that have them."""
    looked = Looked(verifiers, features)
    for batch in table.batches(batch_size, device=verifiers.device):
        for column, name in enumerate(table.schema):
            if name in batch.values and (has := batch.observed[:, column]).any():
                looked.look(name, batch.values[name][has])
    return looked


def measure_prior_samples(
    model: Model,
    prior: Distribution,
    verifiers: Verifiers,
    features: Features | None,
    rows: int,
    batch_size: int,
    seed: int,
) -> Looked:
    """Returns the classes and moments of `rows` unconditional samples, at most 50,000, decoded from a prior."""
    looked = Looked(verifiers, features)
    with answering(model):
        with own_streams(seed):
            codes = prior.sample(torch.Size([min(rows, MOST)]))
        for z in codes.split(batch_size):
            every = torch.arange(len(z), device=z.device)
            for name in model.schema:
                for distribution, _ in decode_in_chunks(model, name, z, every):
                    looked.look(name, model.schema[name].value(distribution))
    return looked


def score_classifiers(true: Looked, table: Table, classes: Classes) -> list[dict[str, Any]]:
    """Returns the accuracy of the classifiers on true values, as rows of the data frame of scores."""
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
    """Returns the agreement of the modalities of samples, and the total variation of their classes, as scores."""
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
    """Returns the Fréchet distances between true values and samples, as rows of the data frame of scores."""
    pairs = [("frechet", true.seen, made.seen), ("fid", true.pictured, made.pictured)]
    return [
        line("generation", name, given, metric, "lower", _distance(one, others[name]), others[name].rows)
        for metric, every, others in pairs
        for name, one in every.items()
    ]


def _distance(one: Moments, other: Moments) -> float:
    """Returns the Fréchet distance; NaN for fewer than two vectors, or for moments that are not finite."""
    if min(one.rows, other.rows) < 2:
        return float("nan")
    numbers = [part for moments in (one, other) for part in (moments.mean, moments.covariance)]
    return frechet_distance(*numbers) if all(np.isfinite(part).all() for part in numbers) else float("nan")


def colours(modality: Modality) -> bool:
    """Returns whether a modality has RGB or greyscale images, which networks for photographs accept."""
    return isinstance(modality, Image) and modality.channels in (1, 3)


def _to_rgb(pictures: Tensor) -> Tensor:
    """Converts images `(N, 1, H, W)` or `(N, 3, H, W)` to `(N, 3, H, W)`."""
    return pictures.expand(-1, 3, -1, -1)
