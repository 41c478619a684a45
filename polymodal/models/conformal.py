"""Scores of split conformal prediction, from which a model computes intervals for predicted numbers.

A score is `s = |x - f| / u(h)`: the absolute error of a prediction f of a number x that the model was not trained on,
in standardised units, divided by the error that is expected if a share h of the other modalities is missing,

    u(h) = a + b h + c h^4,    a, b, c >= 0,

which is fitted to absolute errors under masks of every size. The quantile q of n scores is the one of rank
`(n + 1) level`, with linear interpolation between two ranks. If the rows to impute and the validation rows come from
the same distribution, the interval from `f - q u(h)` to `f + q u(h)` contains the number with a probability of `level`,
up to 1 / (n + 1), whatever the model. Without interpolation, with the rank rounded up, this is Lei et al.'s method.

Source: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for Regression", 2018,
Algorithm 2 and section 5.2 (errors relative to their expected size).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_arguments

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["ConformalScores", "read_calibration", "write_calibration"]

MOST = 400
"""Largest number of scores that are stored per column."""
POWERS = (0, 1, 4)
"""Powers of the share of missing modalities in the expected error."""
LEAST_SHARE = 0.1
"""Smallest expected error, relative to the mean error of the validation rows; it keeps scores bounded."""
BIGGEST = 1e30
"""Largest error that is distinguished; the squares of larger ones would not be finite."""


class ConformalScores(NamedTuple):
    """Scores of a column of numbers."""

    rows: int
    """Number of validation rows with the column, n."""
    expected: tuple[float, ...]
    """Coefficients a, b and c of the expected absolute error u(h), in standardised units."""
    deviation: float
    """Root mean square of the scores; multiplied by u(h), it is the standard deviation of an error."""
    scores: tuple[float, ...]
    """All n scores in ascending order; or, if there are more than 400, those of 400 evenly spaced ranks from 1 to n."""

    @classmethod
    def from_errors(
        cls, errors: np.ndarray, shares: np.ndarray, further: np.ndarray, further_shares: np.ndarray
    ) -> ConformalScores:
        """Creates the scores of a column.

        Arguments:
            errors: Errors of the n validation rows with their own missing values, `(n,)`, n > 0.
            shares: Shares of the other modalities that are missing in these rows, `(n,)`.
            further: Errors of the same rows under further masks, `(k,)`; only u(h) is fitted to them too.
            further_shares: Shares of the other modalities that are missing under these masks, `(k,)`.

        Example:
            >>> ConformalScores.from_errors(np.array([4.0, -1.0]), np.zeros(2), np.zeros(0), np.zeros(0))
            ConformalScores(rows=2, expected=(2.5, 0.0, 0.0), deviation=1.16619038, scores=(0.4, 1.6))
        """
        errors, further = _clean(errors), _clean(further)
        expected = _fit_expected_errors(np.append(errors, further), np.append(shares, further_shares), errors.mean())
        scores = np.sort(np.minimum(errors / _compute_expected_errors(expected, shares), BIGGEST))
        rows = len(scores)
        stored = np.interp(_spread_ranks(rows), np.arange(1, rows + 1), scores)
        deviation = np.sqrt(np.square(scores).mean())
        return cls(rows, tuple(map(_shorten, expected)), _shorten(deviation), tuple(map(_shorten, stored)))

    def has_enough_rows(self, level: float) -> bool:
        """Returns whether a level can be reached: n is at least `level / (1 - level)`."""
        return self._find_rank(level) <= self.rows

    def compute_quantile(self, level: float) -> float:
        """Returns the quantile q of the scores; the largest score if there are too few rows for the level.

        Arguments:
            level: Probability that an interval is to contain the number, between 0 and 1.

        Example:
            >>> ConformalScores(4, (1.0, 0.0, 0.0), 2.7, (1.0, 2.0, 3.0, 4.0)).compute_quantile(0.5)
            2.5
        """
        return float(np.interp(self._find_rank(level), _spread_ranks(self.rows), self.scores))

    def compute_expected_errors(self, shares: np.ndarray) -> np.ndarray:
        """Returns the expected absolute error u(h), `(n,)`, for shares h of missing modalities, `(n,)`."""
        return _compute_expected_errors(self.expected, shares)

    def _find_rank(self, level: float) -> float:
        return round((self.rows + 1) * level, 9)  # rounded, because 20 * 0.95 may be above 19 in floating point


def write_calibration(calibration: Mapping[str, ConformalScores]) -> dict[str, Any]:
    """Returns the scores by column as entries of a model's file."""
    return {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in scores._asdict().items()}
        for name, scores in calibration.items()
    }


def read_calibration(document: Mapping[str, Any], schema: Schema) -> dict[str, ConformalScores]:
    """Reads the scores by column from a model's file.

    Raises:
        ValueError: A column is unknown, or its scores are not what `write_calibration` returns.
    """
    calibration = {}
    for name, entry in document.items():
        schema.index(name)  # raises an error for an unknown name
        if not isinstance(entry, dict):
            raise ValueError(f"the calibration of {name!r} must be an object; got {brief(repr(entry))}")
        check_arguments(entry, ConformalScores._fields, f"the calibration of {name!r}")
        values: list[Any] = [entry.get(field) for field in ConformalScores._fields]
        rows, expected, deviation, scores = values
        rules = {
            "rows": ("a positive integer", type(rows) is int and 0 < rows < 2**53),
            "expected": (
                "3 numbers of at least 0 and a positive sum",
                _are_numbers(expected, len(POWERS)) and sum(expected) > 0,
            ),
            "deviation": ("a number of at least 0", _are_numbers([deviation], 1)),
            "scores": (
                f"numbers of at least 0 in ascending order, one per row and at most {MOST}",
                _are_numbers(scores, min(rows, MOST) if type(rows) is int else 0)
                and all(a <= b for a, b in pairwise(scores)),
            ),
        }
        for field, (rule, valid) in rules.items():
            if not valid:
                value = brief(repr(entry.get(field)))
                raise ValueError(f"{field} in the calibration of {name!r} must be {rule}; got {value}")
        numbers = tuple(map(float, expected)), float(deviation), tuple(map(float, scores))
        calibration[name] = ConformalScores(rows, *numbers)
    return calibration


def _fit_expected_errors(errors: np.ndarray, shares: np.ndarray, mean: float) -> np.ndarray:
    """Returns coefficients of u(h), `(3,)`: the least squares solution without negative coefficients.

    It is the best of the solutions with some coefficients at 0 whose others are positive. The first coefficient is at
    least a tenth of the mean error of the rows with their own missing values.
    """
    terms, least = shares[:, None] ** np.array(POWERS), LEAST_SHARE * max(mean, 1e-6)
    best, lowest = np.zeros(len(POWERS)), np.inf
    for some in (list(some) for count in range(1, len(POWERS) + 1) for some in combinations(range(len(POWERS)), count)):
        found = np.zeros(len(POWERS))
        found[some] = np.linalg.lstsq(terms[:, some], errors, rcond=None)[0]
        cost = np.square(errors - terms @ found).sum()
        if found.min() >= 0 and cost < lowest * (1 - 1e-9):
            best, lowest = found, cost
    best[0] = max(best[0], least)
    return best


def _compute_expected_errors(coefficients: Sequence[float] | np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.asarray(shares)[:, None] ** np.array(POWERS) @ np.asarray(coefficients)


def _spread_ranks(rows: int) -> np.ndarray:
    """Returns the ranks of the scores that are stored, from 1 to `rows`."""
    return np.linspace(1, rows, min(rows, MOST))


def _clean(errors: np.ndarray) -> np.ndarray:
    return np.minimum(np.abs(np.nan_to_num(errors.astype(float), nan=BIGGEST)), BIGGEST)


def _are_numbers(numbers: Any, count: int) -> bool:
    """Returns whether a value is a list of so many finite numbers of at least 0."""
    many = isinstance(numbers, list) and len(numbers) == count
    return many and all(type(number) in (int, float) and isfinite(number) and number >= 0 for number in numbers)


def _shorten(number: float) -> float:
    """Returns a number with 9 digits, which is precise enough for 32 bits and short in a file."""
    return float(f"{number:.9g}")
