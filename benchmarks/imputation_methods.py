"""The imputers that `benchmarks.imputation` compares, all with the same interface.

A method is a function of a `Task`: the rows that it may learn from, with their missing cells. It returns a `Fitted`
method, which imputes tables of the same columns. Imputed columns are numbers in standard deviations, or indices of
classes.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import accelerate  # noqa: F401
import numpy as np
import torch
import torch._dynamo  # both here, so that no method's time contains imports
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import LogisticRegression, RidgeCV

from polymodal import fit, impute
from polymodal.cli.table_settings import choose_defaults
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table import frames
from polymodal.table.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "Coded", "Columns", "Fitted", "Task", "split_settings"]

Columns = dict[str, np.ndarray]
"""Values by name of the column: numbers in standard deviations, or indices of classes."""
ROUNDS = 3
"""Rounds of the chains over all columns."""
TREES = 100
"""Trees of a forest."""


class Task(NamedTuple):
    """What a method learns from.

    Arguments:
        frame: Rows with missing cells.
        schema: Types of the columns.
        wanted: Names of the columns that may be missing in the rows to impute.
        seed: Random seed.
        changes: Settings of polymodal that replace the default ones, such as `{"build.members": 4}`.
    """

    frame: pd.DataFrame
    schema: Schema
    wanted: Sequence[str]
    seed: int
    changes: dict[str, Any] = {}  # noqa: RUF012 (never changed)


class Fitted(NamedTuple):
    """A method that has learned.

    Arguments:
        impute: Function of a table that returns all its columns, missing cells imputed.
        imputed: The imputed training rows, if the method imputes them while it learns.
        predict_interval: Function of a table and a level that returns the lower and the upper bound of each column
            of numbers, NaN where there is none; None if the method has no intervals.
    """

    impute: Callable[[pd.DataFrame], Columns]
    imputed: Columns | None = None
    predict_interval: Callable[[pd.DataFrame, float], tuple[Columns, Columns]] | None = None


class Coded:
    """A table as arrays: standardised numbers, indices of classes, one-hot classes, and the observed cells."""

    def __init__(self, frame: pd.DataFrame, schema: Schema) -> None:
        batch = frames.Reader(schema).read(frame)
        self.schema = schema
        self.observed = {name: batch.observed[:, i].numpy() for i, name in enumerate(schema)}
        self.columns: Columns = {}
        for name, modality in schema.items():
            values = batch.values[name].numpy()
            number = modality.levels is None
            self.columns[name] = values.reshape(len(frame)).astype(float) if number else np.maximum(values, 0)
        self.slices: dict[str, slice] = {}
        for name, modality in schema.items():
            start = max((part.stop for part in self.slices.values()), default=0)
            self.slices[name] = slice(start, start + (modality.levels or 1))

    def one_hot(self, columns: Columns | None = None) -> np.ndarray:
        """Returns numbers and one-hot classes, `(N, features)`; missing cells are NaN unless `columns` are given.

        Arguments:
            columns: Columns to encode; by default those of the table.
        """
        parts = []
        for name, modality in self.schema.items():
            values = (columns or self.columns)[name]
            part = values[:, None].astype(float) if modality.levels is None else np.eye(modality.levels)[values]
            if columns is None:
                part[~self.observed[name]] = np.nan
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def decode(self, codes: np.ndarray) -> Columns:
        """Returns the columns of imputed numbers and one-hot classes; a class is the one with the largest number."""
        return {
            name: codes[:, part.start] if self.schema[name].levels is None else codes[:, part].argmax(1)
            for name, part in self.slices.items()
        }


def impute_constants(task: Task) -> Fitted:
    """The mean, or the most frequent class."""
    means = np.nanmean(Coded(task.frame, task.schema).one_hot(), 0)

    def apply(frame: pd.DataFrame) -> Columns:
        coded = Coded(frame, task.schema)
        codes = coded.one_hot()
        return coded.decode(np.where(np.isnan(codes), means, codes))

    return Fitted(apply)


def impute_neighbours(task: Task) -> Fitted:
    """scikit-learn's KNNImputer, 5 neighbours, on numbers and one-hot classes."""
    imputer = KNNImputer(keep_empty_features=True).fit(Coded(task.frame, task.schema).one_hot())

    def apply(frame: pd.DataFrame) -> Columns:
        coded = Coded(frame, task.schema)
        return coded.decode(np.asarray(imputer.transform(coded.one_hot())))

    return Fitted(apply)


def impute_iteratively(task: Task) -> Fitted:
    """scikit-learn's IterativeImputer, a Bayesian ridge regression per column, 10 rounds.

    The first class of each column is left out. With all classes, each one follows from the others, and the imputed
    values never move from the shares of the classes.
    """
    coded = Coded(task.frame, task.schema)
    firsts = [part.start for name, part in coded.slices.items() if task.schema[name].levels is not None]
    imputer = IterativeImputer(random_state=task.seed, keep_empty_features=True)

    def run(coded: Coded, function: Callable[[np.ndarray], Any]) -> Columns:
        codes = coded.one_hot()
        kept = np.setdiff1d(np.arange(codes.shape[1]), firsts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            codes[:, kept] = function(codes[:, kept])
        for part in coded.slices.values():
            if part.start in firsts:
                codes[:, part.start] = 1 - codes[:, part.start + 1 : part.stop].sum(1)
        return coded.decode(codes)

    imputed = run(coded, imputer.fit_transform)
    return Fitted(lambda frame: run(Coded(frame, task.schema), imputer.transform), imputed)


class Chain:
    """The algorithm of missForest: each column is predicted from all others, in the order of their missing cells.

    Missing cells start as the mean or the most frequent class, and are replaced in each of `ROUNDS` rounds. Another
    table is imputed in the same way with the regressions of the last round.

    Arguments:
        task: What to learn from.
        regressor: Function of the mask of the features that are classes, which makes a regression of a number.
        classifier: The same for a class.
        one_hot: Whether classes are one-hot features; otherwise they are features with the index of the class.
    """

    def __init__(
        self, task: Task, regressor: Callable[..., Any], classifier: Callable[..., Any], one_hot: bool
    ) -> None:
        self.schema, self.is_one_hot, self.models = task.schema, one_hot, dict[str, Any]()
        coded = Coded(task.frame, task.schema)
        means = np.nanmean(coded.one_hot(), 0)[None]
        self.constants = {name: column[0] for name, column in coded.decode(means).items()}
        missing = {name: int((~coded.observed[name]).sum()) for name in task.wanted}
        self.order = sorted(missing, key=missing.__getitem__)

        def learn(name: str, features: np.ndarray, classes: np.ndarray) -> Any:
            target, has = coded.columns[name], coded.observed[name]
            make = regressor if self.schema[name].levels is None else classifier
            if len(np.unique(target[has])) == 1:
                make = _make_constant
            self.models[name] = make(classes).fit(features[has], target[has])
            return self.models[name]

        self.imputed = self._run(coded, learn)

    def impute(self, frame: pd.DataFrame) -> Columns:
        """Returns the imputed columns of another table."""
        return self._run(Coded(frame, self.schema), lambda name, *_: self.models[name])

    def _run(self, coded: Coded, choose: Callable[..., Any]) -> Columns:
        columns = {
            name: np.where(coded.observed[name], values, self.constants[name]) for name, values in coded.columns.items()
        }
        for _ in range(ROUNDS):
            for name in self.order:
                features, classes = self._features(coded, columns, name)
                model, holes = choose(name, features, classes), ~coded.observed[name]
                if holes.any():
                    columns[name][holes] = model.predict(features[holes])
        return columns

    def _features(self, coded: Coded, columns: Columns, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the features of a regression, `(N, features)`, and which of them are indices of classes."""
        if self.is_one_hot:
            features = np.delete(coded.one_hot(columns), coded.slices[name], axis=1)
            return features, np.zeros(features.shape[1], bool)
        others = [other for other in columns if other != name]
        classes = np.array([self.schema[other].levels is not None for other in others])
        return np.stack([columns[other] for other in others], axis=1).astype(float), classes


def _make_constant(classes: np.ndarray) -> DummyClassifier:
    return DummyClassifier()


def impute_boosted(task: Task) -> Fitted:
    """A chain as in missForest with scikit-learn's histogram gradient boosting, 100 iterations, 3 rounds."""
    seed = task.seed
    chain = Chain(
        task,
        lambda classes: HistGradientBoostingRegressor(categorical_features=classes, random_state=seed),
        lambda classes: HistGradientBoostingClassifier(categorical_features=classes, random_state=seed),
        one_hot=False,
    )
    return Fitted(chain.impute, chain.imputed)


def impute_forest(task: Task) -> Fitted:
    """A chain as in missForest: random forests, 100 trees, the square root of the features per split, 3 rounds."""
    options = {"n_estimators": TREES, "max_features": "sqrt", "random_state": task.seed}
    options["n_jobs"] = torch.get_num_threads()
    chain = Chain(
        task,
        lambda _: RandomForestRegressor(min_samples_leaf=5, **options),
        lambda _: RandomForestClassifier(**options),
        one_hot=True,
    )
    return Fitted(chain.impute, chain.imputed)


def impute_linearly(task: Task) -> Fitted:
    """A ridge or logistic regression per column on those that are observed where the column is missing.

    A column is a feature if it is observed in at least a tenth of the rows in which the other is missing; its missing
    cells are the mean. The penalty of the ridge regression is chosen by leave-one-out cross-validation.
    """
    train = Coded(task.frame, task.schema)
    means = np.nanmean(train.one_hot(), 0)

    def apply(frame: pd.DataFrame) -> Columns:
        coded = Coded(frame, task.schema)
        codes, features = (np.where(np.isnan(code := one.one_hot()), means, code) for one in (coded, train))
        made = coded.decode(codes)
        for name in task.wanted:
            holes, has = ~coded.observed[name], train.observed[name]
            if not holes.any():
                continue
            others = [other for other in task.schema if other != name and coded.observed[other][holes].mean() >= 0.1]
            if others:
                used = np.concatenate([np.r_[coded.slices[other]] for other in others])
                model = _make_linear(train.columns[name][has], task.schema[name].levels is None)
                model.fit(features[has][:, used], train.columns[name][has])
                made[name][holes] = model.predict(codes[holes][:, used])
        return made

    return Fitted(apply)


def _make_linear(target: np.ndarray, number: bool) -> Any:
    if number:
        return RidgeCV(np.logspace(-2, 5, 15))
    return LogisticRegression(max_iter=1000) if len(np.unique(target)) > 1 else DummyClassifier()


def split_settings(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the settings by the function that takes them: schema, build, fit, impute, and data for `data.group`.

    Raises:
        ValueError: A setting does not begin with one of these names.

    Example:
        >>> split_settings({"build.members": 4, "fit.epochs": 9})["build"]
        {'members': 4}
    """
    parts: dict[str, dict[str, Any]] = {part: {} for part in ("schema", "build", "fit", "impute", "data")}
    for key, value in settings.items():
        part, _, name = key.partition(".")
        if part not in parts or not name:
            raise ValueError(f"a setting must begin with one of {', '.join(parts)} and a dot; got {key!r}")
        parts[part][name] = value
    return parts


def impute_polymodal(task: Task) -> Fitted:
    """MAC-WAE as `polymodal train` trains it on such a table; a tenth of the rows chooses the epoch."""
    frame, schema = task.frame, task.schema
    parts = split_settings(choose_defaults(len(frame)) | task.changes)
    own = schema
    if groups := parts["data"].get("group"):
        groups = [groups] if isinstance(groups, str) else groups
        inferred = Schema.infer(frame, say=None, groups=groups, kinds=("vector", "label"))
        own = frames.fit_schema(inferred, frame)
    own = own.replace(**parts["schema"])
    order = np.random.default_rng(task.seed).permutation(len(frame))
    few = max(1, round(parts["data"].get("validation", 0.1) * len(frame)))
    train, validation = (Table.from_frame(frame.iloc[rows], own, say=None) for rows in (order[few:], order[:few]))
    model = build(parts["build"].pop("model", "mac-wae"), own, seed=task.seed, **parts["build"])
    fit(model, train, validation, seed=task.seed, progress=False, device="cpu", **parts["fit"])

    def apply(frame: pd.DataFrame) -> Columns:
        return Coded(impute(model, frame, say=None, **parts["impute"]), schema).columns

    def bounds(frame: pd.DataFrame, level: float) -> tuple[Columns, Columns]:
        made = impute(model, frame, say=None, interval=level, **parts["impute"])  # type: ignore[call-overload]
        return _read_bound(made, schema, "_low"), _read_bound(made, schema, "_high")

    has_intervals = "interval" in inspect.signature(impute).parameters
    return Fitted(apply, None, bounds if has_intervals else None)


def _read_bound(frame: pd.DataFrame, schema: Schema, suffix: str) -> Columns:
    """Returns the columns of numbers with a suffix in standard deviations; NaN in empty cells."""
    numbers = Schema({name: one for name, one in schema.items() if one.levels is None and name + suffix in frame})
    if not numbers:
        return {}
    coded = Coded(frame[[name + suffix for name in numbers]].set_axis([*numbers], axis=1), numbers)
    return {name: np.where(coded.observed[name], coded.columns[name], np.nan) for name in numbers}


METHODS: dict[str, Callable[[Task], Fitted]] = {
    "mean or mode": impute_constants,
    "KNNImputer": impute_neighbours,
    "IterativeImputer": impute_iteratively,
    "HGB chain": impute_boosted,
    "forest": impute_forest,
    "ridge": impute_linearly,
    "polymodal": impute_polymodal,
}
"""Methods by name."""
