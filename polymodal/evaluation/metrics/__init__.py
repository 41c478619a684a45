"""Metrics of predictions.

To add one, write a module in this package and add its class to METRICS. To use a custom one, add it to
`polymodal.METRICS` in your program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from polymodal.evaluation.metrics.accuracy import Accuracy
from polymodal.evaluation.metrics.base import Metric
from polymodal.evaluation.metrics.bleu import BLEU3
from polymodal.evaluation.metrics.rmse import RMSE
from polymodal.evaluation.metrics.rows import RowMetric
from polymodal.evaluation.metrics.ssim import SSIM, PaperSSIM
from polymodal.runtime.registry import lookup
from polymodal.runtime.validation import check_mapping, check_names

if TYPE_CHECKING:
    from polymodal.modalities import Modality
    from polymodal.schema import Schema

__all__ = [
    "BLEU3",
    "COMPANIONS",
    "METRICS",
    "RMSE",
    "SSIM",
    "Accuracy",
    "Metric",
    "PaperSSIM",
    "RowMetric",
    "choose_metrics",
]

METRICS: dict[str, type[Metric]] = {
    "acc": Accuracy,
    "bleu-3": BLEU3,
    "rmse": RMSE,
    "ssim": SSIM,
    "ssim-paper": PaperSSIM,
}
"""Metrics by name."""

COMPANIONS = {"ssim": ["ssim-paper"], "frechet": ["fid"]}
"""Additional metrics reported along with a metric; comparisons of models use only the latter."""


def choose_metrics(schema: Schema, metrics: Mapping[str, str | Iterable[str]] | None = None) -> dict[str, list[str]]:
    """Returns the names of the metrics of each modality, in the order of the schema.

    Arguments:
        schema: Schema of the modalities.
        metrics: Names of metrics, by name of the modality. Any other modality has the metric that it says itself, with
            the metric's companions.

    Raises:
        ValueError: A modality or a metric is unknown, a modality has no metric, or a metric does not suit its values.

    Example:
        >>> from polymodal.modalities import Image, Label
        >>> from polymodal.schema import Schema
        >>> schema = Schema({"photo": Image(3, 28, 28), "kind": Label(5)})
        >>> choose_metrics(schema), choose_metrics(schema, {"photo": ["rmse"]})
        ({'photo': ['ssim', 'ssim-paper'], 'kind': ['acc']}, {'photo': ['rmse'], 'kind': ['acc']})
        >>> choose_metrics(schema, {"kind": "ssim"})
        Traceback (most recent call last):
        ValueError: the metric of 'kind' must be for its values, classes of shape (); got 'ssim'; choose among acc
    """
    metrics = {} if metrics is None else metrics
    check_mapping("metrics", metrics, "{'m0': ['ssim']}")
    for name in metrics:
        schema.index(name)
    return {name: _choose_one(name, modality, metrics.get(name)) for name, modality in schema.items()}


def _choose_one(name: str, modality: Modality, asked: str | Iterable[str] | None) -> list[str]:
    names = [asked] if isinstance(asked, str) else asked
    if names is None:
        names = [modality.metric, *COMPANIONS.get(modality.metric, [])]
    check_names(f"metrics of {name!r}", names, f"[{modality.metric!r}]")
    names = list(dict.fromkeys(names))
    if not names:
        raise ValueError(f"metrics of {name!r} must hold at least one name; got none; leave {name!r} out of metrics")
    for metric in names:
        if not lookup(METRICS, metric, f"metric of {name!r}").suits(modality):
            kind = "numbers" if modality.levels is None else "classes"
            suitable = [other for other, known in METRICS.items() if known.suits(modality)]
            raise ValueError(
                f"the metric of {name!r} must be for its values, {kind} of shape {modality.shape}; got {metric!r}; "
                f"choose among {', '.join(suitable) or 'none that is registered'}"
            )
    return names
