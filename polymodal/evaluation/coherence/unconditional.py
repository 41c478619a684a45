"""Evaluation of unconditional samples: agreement of their classes, and Fréchet distances from true values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from polymodal.evaluation.coherence.agreement import compute_agreement, compute_total_variation
from polymodal.evaluation.frame import line
from polymodal.evaluation.frechet import Features, Moments, frechet_distance
from polymodal.inference.passes import decode_in_chunks
from polymodal.modalities import Image
from polymodal.models.base import Model, answering
from polymodal.runtime.seeding import own_streams

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from polymodal.evaluation.coherence.classifier import Classifiers
    from polymodal.evaluation.coherence.labels import Classes
    from polymodal.modalities import Modality
    from polymodal.table.table import Table

__all__ = [
    "is_rgb_or_grey",
    "measure_prior_samples",
    "measure_true_values",
    "score_classifiers",
    "score_coherence",
    "score_distances",
]

MOST = 50_000
"""Maximum number of unconditional samples."""


class ClassStatistics:
    """Predicted classes and feature moments of values of all modalities, accumulated over batches.

    Arguments:
        classifiers: Classifiers of the modalities.
        features: Function that computes features of images, or None.

    Attributes:
        predicted: Predicted classes by modality, a list over batches.
        moments: Moments of the classifiers' features by modality.
        image_moments: Moments of the images' features by modality.
    """

    def __init__(self, classifiers: Classifiers, features: Features | None = None) -> None:
        self.classifiers, self.features = classifiers, features
        self.predicted: dict[str, list[Tensor]] = {name: [] for name in classifiers.class_modalities}
        self.moments = {name: Moments() for name in classifiers.positions}
        self.image_moments = {
            name: Moments() for name, one in classifiers.schema.items() if features and is_rgb_or_grey(one)
        }

    def add(self, name: str, values: Tensor) -> None:
        """Adds values of a modality, `(N, *shape)`."""
        if name in self.image_moments and self.features is not None:
            self.image_moments[name].add(
                self.features(_to_rgb(self.classifiers.schema[name].prepare(values, torch.float32)))
            )
        if name in self.moments:
            features = self.classifiers.features(name, values)
            self.moments[name].add(features)
            self.predicted[name].append(self.classifiers.classify_features(name, features).cpu())
        elif name in self.predicted:
            self.predicted[name].append(values.cpu())


def measure_true_values(
    table: Table, classifiers: Classifiers, features: Features | None, batch_size: int
) -> ClassStatistics:
    """Returns the classes and moments of a table's true values, for the rows that have them."""
    statistics = ClassStatistics(classifiers, features)
    for batch in table.batches(batch_size, device=classifiers.device):
        for column, name in enumerate(table.schema):
            if name in batch.values and (has := batch.observed[:, column]).any():
                statistics.add(name, batch.values[name][has])
    return statistics


def measure_prior_samples(
    model: Model,
    prior: Distribution,
    classifiers: Classifiers,
    features: Features | None,
    rows: int,
    batch_size: int,
    seed: int,
) -> ClassStatistics:
    """Returns the classes and moments of `rows` unconditional samples, at most 50,000, decoded from a prior."""
    statistics = ClassStatistics(classifiers, features)
    with answering(model):
        with own_streams(seed):
            codes = prior.sample(torch.Size([min(rows, MOST)]))
        for z in codes.split(batch_size):
            every = torch.arange(len(z), device=z.device)
            for name in model.schema:
                for distribution, _ in decode_in_chunks(model, name, z, every):
                    statistics.add(name, model.schema[name].value(distribution))
    return statistics


def score_classifiers(true: ClassStatistics, table: Table, classes: Classes) -> list[dict[str, Any]]:
    """Returns the accuracy of the classifiers on true values, as rows of the data frame of scores."""
    lines = []
    for name in true.moments:
        if true.predicted[name]:
            of = classes.values[table.observed[:, table.schema.index(name)].cpu()]
            right = (torch.cat(true.predicted[name]) == of)[of >= 0].double()
            lines.append(
                line("coherence", name, "the truth", "verifier-acc", "higher", 100 * float(right.mean()), len(right))
            )
    return lines


def score_coherence(sampled: ClassStatistics, given: str, classes: Classes) -> list[dict[str, Any]]:
    """Returns the agreement of the modalities of samples, and the total variation of their classes, as scores."""
    lines = []
    predicted = {name: torch.cat(parts) for name, parts in sampled.predicted.items() if parts}
    if len(predicted) > 1:
        every = torch.stack([*predicted.values()])
        lines.append(line("coherence", "all", given, "coherence", "higher", compute_agreement(every), every.shape[1]))
    known = classes.values[classes.values >= 0].bincount(minlength=classes.number)
    for name, some in predicted.items():
        counts = some.bincount(minlength=classes.number)
        lines.append(line("calibration", name, given, "tv", "lower", compute_total_variation(counts, known), len(some)))
    return lines


def score_distances(true: ClassStatistics, sampled: ClassStatistics, given: str) -> list[dict[str, Any]]:
    """Returns the Fréchet distances between true values and samples, as rows of the data frame of scores."""
    pairs = [("frechet", true.moments, sampled.moments), ("fid", true.image_moments, sampled.image_moments)]
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


def is_rgb_or_grey(modality: Modality) -> bool:
    """Returns whether a modality has RGB or greyscale images, which networks for photographs accept."""
    return isinstance(modality, Image) and modality.channels in (1, 3)


def _to_rgb(images: Tensor) -> Tensor:
    """Converts images `(N, 1, H, W)` or `(N, 3, H, W)` to `(N, 3, H, W)`."""
    return images.expand(-1, 3, -1, -1)
