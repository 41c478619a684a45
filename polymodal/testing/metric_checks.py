"""The laws of a metric, as checks that can be run on a custom one."""

from __future__ import annotations

from math import isclose, isfinite, isnan
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal

from polymodal.evaluation import METRICS, Metric
from polymodal.runtime.registry import lookup

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["check_metric"]

ROWS = 12
"""Number of rows of the test values."""
CLASSES = 7
"""Number of classes of the test values, if these are classes."""
SIDES = {0: (), 1: (8,), 2: (6, 9), 3: (2, 16, 15)}
"""Default shape of a test value, by its number of axes."""


def check_metric(metric: str | type[Metric], shape: tuple[int, ...] | None = None) -> None:
    """Checks that a metric fulfils the laws that `polymodal.evaluate` relies on.

    The test values are random numbers in [0, 1], or random classes for a metric of kind "classes".

    1. `better` is "higher" or "lower".
    2. The score of imperfect predictions is finite, also for a single row.
    3. A perfect prediction has the best score: at least as good as any other and better than a random one.
    4. The order of the rows does not matter.
    5. The score of several batches is the score of all their rows.
    6. Rows without a prediction are left out. Without any row, the score is NaN.
    7. Streams that share predictions are scored as they are one by one.

    Arguments:
        metric: Class of the metric, or its name in METRICS.
        shape: Shape of a value, with `metric.axes` axes; by default a small one, `(8,)` if `axes` is None.

    Raises:
        AssertionError: A law does not hold. The message names it and the values.

    Example:
        >>> check_metric("ssim")
        >>> class Opposite(METRICS["rmse"]):
        ...     better = "higher"
        >>> check_metric(Opposite)
        Traceback (most recent call last):
        AssertionError: the metric Opposite breaks a law: a perfect prediction must score best, higher than others; ...
    """
    name = metric if isinstance(metric, str) else metric.__name__
    kind = lookup(METRICS, metric, "metric") if isinstance(metric, str) else metric
    if getattr(kind, "better", None) not in ("higher", "lower"):
        _fail(name, f"better must be 'higher' or 'lower'; got {getattr(kind, 'better', None)!r}")
    if kind.kind not in (None, "numbers", "classes"):
        _fail(name, f"kind must be 'numbers', 'classes' or None; got {kind.kind!r}")
    shape = SIDES[1 if kind.axes is None else kind.axes] if shape is None else shape
    trial = Trial(name, kind, shape)
    trial.check_finite()
    trial.check_perfect()
    trial.check_order()
    trial.check_batches()
    trial.check_missing()
    trial.check_streams()


class Trial:
    """A metric with true values to test it on, and the values that it scores."""

    def __init__(self, name: str, kind: type[Metric], shape: tuple[int, ...]) -> None:
        self.name, self.kind, self.shape = name, kind, shape
        self.classes = kind.kind == "classes"
        self.generator = torch.Generator().manual_seed(0)
        self.target = self.random()
        self.near, self.far = self.disturb(0.2), self.disturb(1.0)

    def random(self) -> Tensor:
        """Returns random values `(N, *shape)`; classes begin at 2, which are words in a text."""
        numbers = torch.rand((ROWS, *self.shape), generator=self.generator, dtype=torch.float64)
        return 2 + (numbers * (CLASSES - 2)).long() if self.classes else numbers

    def disturb(self, share: float) -> Tensor:
        """Returns the true values with random values in place of a share of them, or mixed with them for numbers."""
        other = self.random()
        if not self.classes:
            return (1 - share) * self.target + share * other
        replaced = torch.rand(other.shape, generator=self.generator) < share
        if not self.shape:
            replaced = torch.arange(ROWS) < share * ROWS
        return torch.where(replaced, other, self.target)

    def predict(self, values: Tensor) -> Distribution:
        """Returns predicted distributions whose point predictions are the values `(N, *shape)`."""
        if self.classes:
            made = Categorical(logits=20.0 * F.one_hot(values, CLASSES).double(), validate_args=False)
        else:
            made = Normal(values, 1.0, validate_args=False)
        return Independent(made, len(self.shape), validate_args=False)

    def score(self, *batches: tuple[Tensor, Tensor]) -> float:
        """Returns the score of batches of predicted and true values."""
        metric = self.kind()
        for values, target in batches:
            metric.update(self.predict(values), target)
        return metric.compute()

    def equal(self, law: str, one: float, other: float) -> None:
        """Fails with the law if two scores differ."""
        if not isclose(one, other, rel_tol=1e-9, abs_tol=1e-9):
            _fail(self.name, f"{law}; got {one!r} and {other!r}")

    def check_finite(self) -> None:
        """Checks law 2."""
        for what, rows in ((f"{ROWS} rows", ROWS), ("1 row", 1)):
            value = self.score((self.near[-rows:], self.target[-rows:]))
            same = bool((self.near[-rows:] == self.target[-rows:]).all())
            if isnan(value) or not (same or isfinite(value)):
                _fail(self.name, f"the score of imperfect predictions must be finite; got {value!r} for {what}")

    def check_perfect(self) -> None:
        """Checks law 3."""
        sign = 1 if self.kind.better == "higher" else -1
        best, near, far = (self.score((values, self.target)) for values in (self.target, self.near, self.far))
        if isnan(best) or sign * best < sign * near or not sign * best > sign * far:
            _fail(
                self.name,
                f"a perfect prediction must score best, {self.kind.better} than others; got {best!r} for a perfect "
                f"prediction, {near!r} for one near it and {far!r} for a random one",
            )

    def check_order(self) -> None:
        """Checks law 4."""
        order = torch.randperm(ROWS, generator=self.generator)
        law = "the order of the rows must not matter"
        self.equal(law, self.score((self.near, self.target)), self.score((self.near[order], self.target[order])))

    def check_batches(self) -> None:
        """Checks law 5."""
        cuts = ((0, 1), (1, 7), (7, ROWS))
        parts = self.score(*((self.near[start:stop], self.target[start:stop]) for start, stop in cuts))
        self.equal("batches must combine to the score of all rows", self.score((self.near, self.target)), parts)

    def check_missing(self) -> None:
        """Checks law 6."""
        has = torch.arange(ROWS) % 3 > 0
        metric = self.kind()
        metric.update(self.predict(self.near), self.target, torch.where(has, torch.arange(ROWS), -1)[None])
        law = "rows without a prediction must be left out"
        self.equal(law, self.score((self.near[has], self.target[has])), metric.compute())
        if int(metric.rows[0]) != int(has.sum()):
            _fail(self.name, f"{law} of the number of rows, {int(has.sum())}; got {int(metric.rows[0])}")
        if not isnan(empty := self.kind().compute()):
            _fail(self.name, f"the score of no rows must be NaN; got {empty!r}")

    def check_streams(self) -> None:
        """Checks law 7."""
        shared = torch.stack([torch.arange(ROWS) // 2, torch.arange(ROWS).flip(0)])
        metric = self.kind(2)
        metric.update(self.predict(self.near), self.target, shared)
        for stream, chosen in enumerate(shared):
            law = "streams that share predictions must be scored as one by one"
            self.equal(law, self.score((self.near[chosen], self.target)), metric.compute(stream))


def _fail(name: str, law: str) -> None:
    raise AssertionError(f"the metric {name} breaks a law: {law}")
