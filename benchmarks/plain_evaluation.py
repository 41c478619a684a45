"""An evaluation of MAC-WAE as its authors' code runs it: the baseline for `polymodal.evaluate`.

A pass per conditioning: every encoder runs on the batch with blanks for what is hidden, and the decoders of what is
asked on the codes. Each question is scored by itself, pictures one by one, by the libraries that papers use. So the
encoders run 1 + 2M times. It is the model's own networks with the model's own weights, and it shares no code with
`polymodal.evaluation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import reference

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.models import MAC

__all__ = ["SCORES", "Scored", "evaluate"]

Key = tuple[str, str, str, str]
"""Key of a score: task, modality, given, metric."""


class Scored(NamedTuple):
    """Scores of an evaluation, and its costs."""

    scores: dict[Key, float]
    passes: float
    """Seconds of encoding and decoding."""
    metrics: float
    """Seconds of scoring."""


def evaluate(model: MAC, batch: Batch) -> Scored:
    """Scores all three tasks on complete rows.

    Arguments:
        model: Deterministic, in evaluation mode, of PyTorch's own layers (`benchmarks.reference.stock`).
        batch: B complete rows.
    """
    x = model.schema.hide(batch, model.weight.dtype)
    names, scores, passes, metrics = list(model.schema), {}, 0.0, 0.0
    for task, given, b, asked in _list_passes(names):
        began = time.perf_counter()
        with torch.no_grad():
            z = reference.encode(model, x, b.expand(len(batch), -1))
            made = {name: model.decoders[names.index(name)](z) for name in asked}
        passed = time.perf_counter()
        for name in asked:
            for metric, value in _scores(model, name, made[name], x[name]).items():
                scores[task, name, given, metric] = value
        passes += passed - began
        metrics += time.perf_counter() - passed
    return Scored(scores, passes, metrics)


def _list_passes(names: list[str]) -> Iterator[tuple[str, str, Tensor, list[str]]]:
    """Task, what is given, in words and as `(M,)` bool, and what is asked."""
    singles = torch.eye(len(names), dtype=torch.bool)
    yield "reconstruction", "all", torch.ones(len(names), dtype=torch.bool), names
    for name, single in zip(names, singles, strict=True):
        yield "many-to-one", "others", ~single, [name]
    for name, single in zip(names, singles, strict=True):
        yield "one-to-one", name, single, [other for other in names if other != name]


def _scores(model: MAC, name: str, outputs: Tensor, truth: Tensor) -> dict[str, float]:
    metric = model.schema[name].metric
    return {key: score(outputs, truth) for key, score in SCORES.items() if key.split("-paper")[0] == metric}


def _accuracy(outputs: Tensor, truth: Tensor) -> float:
    return 100 * float((outputs.argmax(-1) == truth).float().mean())


def _rmse(outputs: Tensor, truth: Tensor) -> float:
    return float((outputs - truth).double().square().mean().sqrt())


def _bleu(outputs: Tensor, truth: Tensor) -> float:
    from torchmetrics.text import BLEUScore

    made, true = ([[str(t) for t in row if t > 1] for row in rows.tolist()] for rows in (outputs.argmax(-1), truth))
    return 100 * float(BLEUScore(n_gram=3)([" ".join(row) for row in made], [[" ".join(row)] for row in true]))


def _ssim(outputs: Tensor, truth: Tensor) -> float:
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return _average(outputs, truth, **settings)


def _paper_ssim(outputs: Tensor, truth: Tensor) -> float:
    return _average(outputs, truth, data_range=2.0)


def _average(outputs: Tensor, truth: Tensor, **settings: object) -> float:
    from skimage.metrics import structural_similarity

    pairs = zip(outputs.double().numpy(), truth.double().numpy(), strict=True)
    return float(np.mean([structural_similarity(a, b, channel_axis=0, **settings) for a, b in pairs]))


SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "acc": _accuracy,
    "bleu-3": _bleu,
    "rmse": _rmse,
    "ssim": _ssim,
    "ssim-paper": _paper_ssim,
}
"""Scores of a decoder's outputs against the truth, by the names that METRICS has for them."""
