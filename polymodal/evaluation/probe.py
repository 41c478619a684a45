"""Linear probes: accuracy of linear classifiers of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from polymodal.evaluation.coherence.labels import Classes
from polymodal.evaluation.frame import line
from polymodal.inference.streaming import embed

if TYPE_CHECKING:
    from polymodal.models.base import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["score_linear_probe"]

MOST = 2_000
"""Maximum number of training rows of a probe."""


def score_linear_probe(
    model: Model, train: Table, table: Table, known: Classes, classes: Classes, batch_size: int, seed: int
) -> list[dict[str, Any]]:
    """Computes the accuracy of logistic regressions that predict the class from codes.

    One probe per conditioning is fitted to the standardised codes of up to 2,000 training rows. The label itself is
    never given.

    Arguments:
        model: Model that encodes the rows.
        train: Training rows of the probes.
        table: Rows to score.
        known: Classes of the training rows.
        classes: Classes of the rows to score.
        batch_size: Number of rows per pass.
        seed: Random seed for the choice of training rows.

    Returns:
        Two rows of the data frame of scores: the accuracy given all modalities except the label, and the mean accuracy
        given one modality. No rows if the label is the only modality.
    """
    masks = _masks(model.schema, classes.label)
    if not len(masks):
        return []
    rows = (known.values >= 0).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:MOST]]
    parts = [(some, z.cpu()) for some, z in embed(model, train, masks, batch_size, rows=rows)]
    codes = torch.cat([z for _, z in parts], dim=1) if parts else torch.empty(len(masks), 0, model.code_dim)
    labels = known.values[torch.cat([some for some, _ in parts])] if parts else known.values[:0]
    probes = [_fit_probe(z.numpy(), labels.numpy()) for z in codes]
    right, seen = np.zeros(len(masks)), np.zeros(len(masks), int)
    for some, z in embed(model, table, masks, batch_size):
        for place, (one, here) in enumerate(zip(probes, z.cpu().numpy(), strict=True)):
            has = np.isfinite(here).all(1) & (classes.values[some] >= 0).numpy()
            if one is not None and has.any():
                right[place] += (one.predict(here[has]) == classes.values[some].numpy()[has]).sum()
                seen[place] += has.sum()
    scores = np.divide(100 * right, seen, out=np.full(len(masks), np.nan), where=seen > 0)
    alone = scores[1:][seen[1:] > 0]
    return [
        line("probe", classes.name, "others", "acc", "higher", float(scores[0]), int(seen[0])),
        line(
            "probe",
            classes.name,
            "1 other",
            "acc",
            "higher",
            float(alone.mean()) if len(alone) else np.nan,
            int(seen[1:].max()),
        ),
    ]


def _masks(schema: Schema, label: str | None) -> Tensor:
    """Returns conditioning masks `(S, M)` bool: all modalities except the label, then each of them alone."""
    names = [name for name in schema if name != label]
    return torch.stack([schema.mask(names), *(schema.mask([name]) for name in names)]) if names else torch.empty(0)


def _fit_probe(codes: np.ndarray, labels: np.ndarray) -> Any:
    """Fits a classifier to the codes `(R, D)` that are finite; returns None if they have fewer than two classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    has = np.isfinite(codes).all(1)
    if len(np.unique(labels[has])) < 2:
        return None
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(codes[has], labels[has])
