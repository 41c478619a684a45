"""Scores of split conformal prediction, from which a model computes intervals for predicted numbers.

A score is `s = |x - f| / u`: the absolute error of a prediction f of a number x that the model was not trained on, in
standardised units, relative to the error u that is expected from the share of columns the prediction is based on. Of n
scores, the one of rank `k = ceil((n + 1) level)` is the conformal quantile q. If the rows to impute and the validation
rows come from the same distribution, the interval from `f - q u` to `f + q u` contains the number with a probability of
at least `level`, whatever the model.

Source: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for Regression", 2018,
Algorithm 2 and section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.schema import Schema

__all__ = ["ConformalScores", "read_calibration", "write_calibration"]

MOST = 400
"""Largest number of scores that are stored per column."""


class ConformalScores(NamedTuple):
    """Scores of a column of numbers."""

    rows: int
    """Number of validation rows with the column, n."""
    rmse: float
    """Root mean squared error of the predictions, in standardised units."""
    scores: tuple[float, ...]
    """All n scores in ascending order; or, if there are more than 400, those of 400 evenly spaced ranks up to n."""

    @classmethod
    def from_errors(cls, errors: Tensor) -> ConformalScores:
        """Creates the scores of a column from the errors `(n,)` of its predictions, n > 0.

        Example:
            >>> ConformalScores.from_errors(torch.tensor([3.0, -1.0, 2.0])).scores
            (1.0, 2.0, 3.0)
        """
        errors = errors.detach().cpu().double().abs().nan_to_num(nan=BIGGEST, posinf=BIGGEST).clamp(max=BIGGEST)
        ordered, rows = errors.sort().values, len(errors)
        stored = min(rows, MOST)
        ranks = torch.tensor([-(-place * rows // stored) for place in range(1, stored + 1)])
        rmse = float(errors.square().mean().sqrt())
        return cls(rows, _shorten(rmse), tuple(map(_shorten, ordered[ranks - 1].tolist())))

    def has_enough_rows(self, level: float) -> bool:
        """Returns whether a quantile exists: n is at least `level / (1 - level)`."""
        return self._find_rank(level) <= self.rows

    def quantile(self, level: float) -> float:
        """Returns the conformal quantile q; the largest score if there are too few rows for the level.

        If not all scores are stored, it is the next larger one of those that are.

        Arguments:
            level: Probability that an interval is to contain the number, between 0 and 1.

        Example:
            >>> ConformalScores(4, 2.7, (1.0, 2.0, 3.0, 4.0)).quantile(0.5)
            3.0
        """
        rank = min(self._find_rank(level), self.rows)
        return self.scores[(rank - 1) * len(self.scores) // self.rows]

    def _find_rank(self, level: float) -> int:
        return ceil(round((self.rows + 1) * level, 9))  # rounded, because 100 * 0.55 is above 55 in floating point


BIGGEST = 1e30
"""Limit of errors, which keeps their squares and intervals finite."""


def write_calibration(calibration: Mapping[str, ConformalScores]) -> dict[str, Any]:
    """Returns the scores by column as entries of a model's file."""
    return {name: {**scores._asdict(), "scores": list(scores.scores)} for name, scores in calibration.items()}


def read_calibration(document: Mapping[str, Any], schema: Schema) -> dict[str, ConformalScores]:
    """Reads the scores by column from a model's file.

    Raises:
        ValueError: A column is unknown, or its scores are not what `calibrate` stores.
    """
    calibration = {}
    for name, entry in document.items():
        schema.index(name)  # raises an error for an unknown name
        if not isinstance(entry, dict):
            raise ValueError(f"calibration of {name!r} must be an object; got {brief(repr(entry))}")
        check_arguments(entry, ConformalScores._fields, f"the calibration of {name!r}")
        rows, rmse, scores = (entry.get(field) for field in ConformalScores._fields)
        if type(rows) is not int or not 0 < rows < 2**53:
            raise ValueError(f"rows in the calibration of {name!r} must be a positive integer; got {brief(repr(rows))}")
        if not _are_scores([rmse]):
            raise ValueError(f"rmse in the calibration of {name!r} must be a number from 0; got {brief(repr(rmse))}")
        if not isinstance(scores, list) or len(scores) != min(rows, MOST) or not _are_scores(scores):
            raise ValueError(
                f"scores in the calibration of {name!r} must be {min(rows, MOST)} numbers from 0 in ascending order; "
                f"got {brief(repr(scores))}"
            )
        calibration[name] = ConformalScores(rows, float(rmse), tuple(map(float, scores)))
    return calibration


def _are_scores(scores: Sequence[Any]) -> bool:
    numbers = all(type(score) in (int, float) and isfinite(score) for score in scores)
    return numbers and scores[0] >= 0 and all(a <= b for a, b in pairwise(scores))


def _shorten(number: float) -> float:
    """Returns a number with 9 digits, which is precise enough for 32 bits and short in a file."""
    return float(f"{number:.9g}")
