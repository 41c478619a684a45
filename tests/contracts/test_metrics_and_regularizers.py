"""What every registered metric and regulariser promises, and that the checks notice what breaks a law."""

from dataclasses import dataclass

import pytest
import torch

from polymodal.evaluation import METRICS, RowMetric
from polymodal.objectives.regularizers import KL, MMD, REGULARIZERS, Regularizer
from polymodal.testing import check_metric, check_regularizer


@pytest.mark.parametrize("name", METRICS)
def test_metric(name):
    check_metric(name)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer(name):
    check_regularizer(name)


@pytest.mark.parametrize("regularizer", ["mmd(2)", "sliced(16, samples)", MMD(bandwidth=0.5)])
def test_regularizer_with_an_argument(regularizer):
    check_regularizer(regularizer)


class Error(RowMetric):
    """The mean absolute error, a lawful metric of which others are made."""

    better = "lower"
    kind = "numbers"

    def score_rows(self, prediction, target):
        return (prediction - target).abs().flatten(1).mean(1)


class Undirected(Error):
    better = "best"


class Reversed(Error):
    better = "higher"


class Infinite(Error):
    def score_rows(self, prediction, target):
        return super().score_rows(prediction, target) / 0


class Ordered(Error):
    def compare(self, distribution, target, indices):
        first = torch.arange(1, len(target) + 1)
        compared = super().compare(distribution, target, indices)
        return lambda rows: lambda chosen: compared(rows)(chosen) * first[rows][:, None]


class Batched(Error):
    def compare(self, distribution, target, indices):
        compared = super().compare(distribution, target, indices)
        return lambda rows: lambda chosen: compared(rows)(chosen) * len(target)


class Careless(Error):
    def update(self, distribution, target, indices=None):
        super().update(distribution, target, None if indices is None else indices.clamp(min=0))


class Confused(Error):
    def compute(self, stream=0):
        return super().compute(0)


@pytest.mark.parametrize(
    ("metric", "law"),
    [
        (Undirected, "better must be 'higher' or 'lower'; got 'best'"),
        (Reversed, "perfect prediction must score best, higher.*got 0.0"),
        (Infinite, "must be finite; got inf"),
        (Ordered, r"order of the rows must not matter; got 0\.\d+ and"),
        (Batched, "batches must combine"),
        (Careless, "without a prediction must be left out"),
        (Confused, "streams .* one by one"),
    ],
)
def test_a_broken_metric_is_noticed(metric, law):
    check_metric(Error)
    with pytest.raises(AssertionError, match=f"the metric {metric.__name__} breaks a law: .*{law}"):
        check_metric(metric)


@dataclass(frozen=True)
class Scalar(MMD):
    def __call__(self, posterior, z, prior):
        return super().__call__(posterior, z, prior).sum()


@dataclass(frozen=True)
class Large(Regularizer):
    def __call__(self, posterior, z, prior):
        return 1 + z.square().mean((-2, -1))


@dataclass(frozen=True)
class Detached(MMD):
    def __call__(self, posterior, z, prior):
        return super().__call__(posterior, z.detach(), prior)


@dataclass(frozen=True)
class Many(KL):
    def __call__(self, posterior, z, prior):
        return super().__call__(posterior, z, prior) / (1 if z.shape[-2] > 2 else 0)


@dataclass(frozen=True)
class Weighed(Regularizer):
    def __call__(self, posterior, z, prior):
        weights = torch.linspace(0, 1, z.shape[-2], dtype=z.dtype)
        return (weights * z.mean(-1)).mean(-1).square()


@dataclass(frozen=True)
class Listed(MMD):
    scales: tuple[float, ...] = (1.0, 2.0)


@pytest.mark.parametrize(
    ("regularizer", "law"),
    [
        (Scalar, r"one per conditioning, \(3,\); got \(\)"),
        (Large, r"prior must be small, at most 25%.*got \[.*\] and \["),
        (Detached, "must be differentiable"),
        (Many, r"two rows must be finite; got \[inf"),
        (Weighed, "order of the rows must not matter"),
    ],
)
def test_a_broken_regularizer_is_noticed(regularizer, law):
    with pytest.raises(AssertionError, match=rf"the regulariser {regularizer.__name__}\(.*\) breaks a law: .*{law}"):
        check_regularizer(regularizer)


def test_an_argument_that_text_cannot_hold_is_an_error():
    with pytest.raises(ValueError, match=r"scales of Listed must be a number.*got \(1.0, 3.0\)"):
        check_regularizer(Listed(scales=(1.0, 3.0)))
