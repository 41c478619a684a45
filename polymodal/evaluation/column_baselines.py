"""Baselines for the columns of a table: a constant prediction, and a linear model of the other columns.

A baseline learns from the training rows, and predicts a column on the rows on which the model is scored:

- mean or mode: the mean of a number, or the most frequent class.
- ridge or logistic: ridge regression of numbers, `min |Y - X W - b|^2 + a |W|^2` with a chosen by leave-one-out
  cross-validation, or logistic regression of classes, on the other columns X.

X has the standardised numbers of vectors and the one-hot codes of labels. A missing number is replaced with its mean, a
missing class with zeros, and an indicator of each column says where it is missing. Images, texts and audio are not
inputs. The linear models learn from at most 20,000 rows, or fewer if the table is wide, so that they take seconds.
"""

from __future__ import annotations

import warnings
from math import isfinite, nan, prod, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from polymodal.modalities import Modality
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["BASELINES", "add_baselines", "compute_baselines", "find_best", "list_columns"]

BASELINES = ("mean_or_mode", "ridge_or_logistic")
"""Names of the columns of a data frame of scores that have the scores of the baselines."""
AXES = {"acc": 0, "rmse": 1}
"""Number of axes of the values of a column, by metric."""
MOST, FEWEST = 20_000, 1000
"""Maximum number of training rows of a linear model, and the number of rows that even the widest table has."""
WORK = 3e10
"""Approximate maximum of rows x inputs x inputs x columns."""
TOLERANCE = 1e-3
"""Tolerance of the logistic regression: a smaller one takes several times longer and hardly changes the accuracy."""
CHUNK = 2**14
"""Number of rows that are predicted at once."""
PENALTIES = np.logspace(-2, 4, 7)
"""Penalties of the ridge regression to choose from."""


class Baseline(NamedTuple):
    """Scores of the baselines of a column, in the metric of its modality; NaN if there is none."""

    constant: float = nan
    linear: float = nan


def list_columns(schema: Schema) -> list[str]:
    """Returns the modalities that are columns of numbers or classes; those in a group have no separate scores.

    Example:
        >>> from polymodal import Image, Label, Schema, Vector
        >>> list_columns(Schema({"photo": Image(3, 8, 8), "size": Vector(1), "species": Label(3)}))
        ['size', 'species']
    """
    grouped = {name for names in schema.groups.values() for name in names}
    return [name for name, modality in schema.items() if name not in grouped and _is_column(modality)]


def add_baselines(scores: pd.DataFrame, train: Table, table: Table) -> pd.DataFrame:
    """Adds the scores of the baselines to the scores of a model, in the columns `BASELINES`.

    Only the scores of columns given all others (the task many-to-one) have baselines. The other scores have NaN. If
    fewer than two columns have such scores, the result is `scores`.

    Arguments:
        scores: Result of `polymodal.evaluate`, or the same read from a file.
        train: Training rows, from which the baselines learn.
        table: Rows on which the model was scored.

    Returns:
        A copy of the scores with two more columns. The scores of the model are unchanged.

    Example:
        >>> from polymodal import Label, Schema, Table, Vector, build, evaluate
        >>> schema = Schema({"size": Vector(1), "double": Vector(1), "large": Label(2)})
        >>> size = torch.linspace(-1, 1, 40)[:, None]
        >>> table = Table({"size": size, "double": 2 * size, "large": (size[:, 0] > 0).long()}, schema=schema)
        >>> scores = add_baselines(evaluate(build("mac-wae", schema, latent_dim=2), table), table, table)
        >>> scores[scores["task"] == "many-to-one"].set_index("modality")[[*BASELINES]].round(2).loc["large"].tolist()
        [50.0, 100.0]
    """
    modality, own = scores["modality"].astype(str), table.schema  # column names such as 1 are read as numbers
    metrics = {name: own[name].metric for name in list_columns(own)}
    found = (scores["task"] == "many-to-one") & (scores["metric"] == modality.map(metrics))
    names = list(dict.fromkeys(modality[found]))
    if len(metrics) < 2 or not names:
        return scores
    known = compute_baselines(train, table, names)
    rows = [known[name] if has else Baseline() for name, has in zip(modality, found, strict=True)]
    return scores.assign(**{column: [row[place] for row in rows] for place, column in enumerate(BASELINES)})


def find_best(values: Sequence[float], better: str) -> set[int]:
    """Returns the positions of the best of the scores that exist; there is no best of fewer than two.

    Example:
        >>> find_best([0.5, 1.0, 0.4], "lower"), find_best([75.0, 75.0, nan], "higher"), find_best([75.0], "higher")
        ({2}, {0, 1}, set())
    """
    known = [value for value in values if isfinite(value)]
    if len(known) < 2:
        return set()
    best = max(known) if better == "higher" else min(known)
    return {place for place, value in enumerate(values) if value == best}


def compute_baselines(train: Table, table: Table, names: list[str]) -> dict[str, Baseline]:
    """Returns the scores of the baselines of some columns, by name.

    The rows that are scored are those on which `polymodal.evaluate` scores the task many-to-one: the column and at
    least one other modality are observed.

    Arguments:
        train: Training rows.
        table: Rows to score.
        names: Columns of numbers or classes, see `list_columns`.
    """
    inputs = _Inputs(train)
    most = int(min(MOST, max(FEWEST, WORK / (inputs.width**2 * len(names)))))
    return {name: _score_column(train, table, name, inputs, most) for name in names}


class _Inputs:
    """Inputs of the linear models, with means and standard deviations of the training rows.

    Attributes:
        width: Number of inputs W, if no column is left out.
    """

    def __init__(self, train: Table) -> None:
        self.names = [name for name, modality in train.schema.items() if _is_column(modality)]
        self.units: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in self.names:
            if train.schema[name].levels is None:
                values = _read_values(train, name, _sample_rows(train, name, MOST))
                scale = values.std(0) if len(values) else np.ones(values.shape[1])
                center = values.mean(0) if len(values) else np.zeros(values.shape[1])
                self.units[name] = center, np.where(scale > 0, scale, 1.0)
        self.width = sum(1 + (train.schema[name].levels or prod(train.schema[name].shape)) for name in self.names)

    def encode(self, table: Table, rows: np.ndarray, target: str) -> np.ndarray:
        """Returns the inputs for a target of some rows, `(R, W')` float64, from all columns except the target."""
        blocks = [np.zeros((len(rows), 0))]
        for name in self.names:
            if name == target:
                continue
            has = table.observed[rows, table.schema.index(name)].cpu().numpy()
            block = np.zeros((len(rows), table.schema[name].levels or prod(table.schema[name].shape)))
            values = _read_values(table, name, rows[has])
            if name in self.units:
                center, scale = self.units[name]
                block[has] = (values - center) / scale
            else:
                block[has.nonzero()[0], values] = 1.0
            blocks += [block, ~has[:, None]]
        return np.concatenate(blocks, axis=1)


def _score_column(train: Table, table: Table, name: str, inputs: _Inputs, most: int) -> Baseline:
    """Returns the scores of the baselines of a column, from models that learn from at most `most` rows."""
    known = _read_values(train, name, _sample_rows(train, name, len(train)))
    if not len(known):
        return Baseline()
    is_class = table.schema[name].levels is not None
    constant = np.bincount(known).argmax() if is_class else known.mean(0)
    rows = _sample_rows(train, name, most)
    linear = _fit_linear(inputs.encode(train, rows, name), _read_values(train, name, rows), is_class)
    sums, count = np.zeros(2), 0
    for part in _list_scored_rows(table, name):
        truth = _read_values(table, name, part)
        predicted = constant if linear is None else linear.predict(inputs.encode(table, part, name))
        for place, guess in enumerate((constant, predicted)):
            guess = np.asarray(guess).reshape(-1, *truth.shape[1:])
            sums[place] += (guess == truth).sum() if is_class else np.square(guess - truth).sum()
        count += truth.size
    if not count:
        return Baseline()
    return Baseline(*(float(100 * total / count) if is_class else sqrt(total / count) for total in sums))


def _fit_linear(x: np.ndarray, y: np.ndarray, is_class: bool) -> Any:
    """Fits a linear model; returns None if the target does not vary, or if there is no input."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    if not x.shape[1] or len(np.unique(y, axis=0)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without convergence, the baseline is a little worse
        return LogisticRegression(tol=TOLERANCE).fit(np.float32(x), y) if is_class else RidgeCV(PENALTIES).fit(x, y)


def _sample_rows(table: Table, name: str, most: int) -> np.ndarray:
    """Returns the indices of at most `most` random rows in which a column is observed, in ascending order."""
    rows = table.observed[:, table.schema.index(name)].nonzero()[:, 0].cpu().numpy()
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _list_scored_rows(table: Table, name: str) -> Iterator[np.ndarray]:
    """Yields the indices of the rows that are scored, in chunks."""
    target = table.observed[:, table.schema.index(name)]
    has = target & (table.observed.sum(1) > 1)
    yield from (part.cpu().numpy() for part in has.nonzero()[:, 0].split(CHUNK))


def _read_values(table: Table, name: str, rows: np.ndarray) -> np.ndarray:
    """Returns observed values, `(R,)` int64 for classes and else `(R, F)` float64."""
    modality = table.schema[name]
    if not len(rows):  # a column that is never observed may have no values
        return np.zeros((0, *modality.shape), np.float64 if modality.levels is None else np.int64)
    return modality.prepare(table.values[name][torch.from_numpy(rows)], torch.float64).cpu().numpy()


def _is_column(modality: Modality) -> bool:
    return len(modality.shape) == AXES.get(modality.metric)
