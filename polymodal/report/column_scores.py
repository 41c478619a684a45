"""Scores of each column of a table, predicted from the other columns, next to those of baselines.

For an accuracy a in %, the skill is (a - c) / (100 - c), where c is the accuracy of the most frequent class. For a root
mean squared error e, the skill is 1 - e / c, where c is the error of the mean. A skill of 1 is perfect, 0 is as good as
the constant, and negative values are worse.

Mean and most frequent class are those of the training rows where the scores have baselines, see
`polymodal.evaluation.add_baselines`, and else those of the rows that are scored.
"""

from __future__ import annotations

from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polymodal.evaluation import METRICS
from polymodal.evaluation.column_baselines import BASELINES, find_best, list_columns
from polymodal.modalities import Vector
from polymodal.networks.masked_linear import fill_missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from polymodal.modalities import Modality
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["DASH", "prepare_columns"]

PRINTED = 12
"""Maximum number of columns for which the map prints its numbers."""
CHUNK = 2**16
"""Number of rows per chunk."""
DASH = "\N{EN DASH}"


class Skill(NamedTuple):
    """Formatted skill, its absolute value in 0..100 for shading, and whether it is negative."""

    text: str = DASH
    heat: int = 0
    below: bool = False


class Cell(NamedTuple):
    """Formatted score of the model or of a baseline, and whether it is the best of these."""

    text: str = DASH
    best: bool = False


class Column(NamedTuple):
    """Scores of a column: given all others, of the baselines, and given the best single other column."""

    name: str
    type: str
    score: Cell
    constant: Cell = Cell()
    linear: Cell = Cell()
    skill: Skill = Skill()
    source: str = DASH
    alone: Skill = Skill()


class SkillRow(NamedTuple):
    """Skills of all columns given one column; None for the column itself."""

    name: str
    skills: list[Skill | None]


class Columns(NamedTuple):
    """Scores of all columns, and a map of skills with a line per source and a column per target."""

    rows: list[Column]
    names: list[str]
    lines: list[SkillRow]
    printed: bool
    units: bool
    baselines: bool
    """Whether there are scores of linear models, and the constants are those of the training rows."""
    others: bool
    """Whether there are modalities without baselines and skills."""


class ColumnScore(NamedTuple):
    """Score, and the scores of a constant prediction and of a linear model on the same rows."""

    metric: str
    value: float = nan
    constant: float = nan
    linear: float = nan

    @property
    def skill(self) -> float:
        return _compute_skill(self.metric, self.value, self.constant)


def prepare_columns(frame: pd.DataFrame, schema: Schema, table: Table) -> Columns | None:
    """Prepares the scores of columns for the report.

    Labels and vectors that are in no group have baselines and skills. The other modalities that are in no group, such
    as texts and images, follow with their scores alone.

    Arguments:
        frame: Result of `polymodal.evaluate`, or the same read from a file.
        schema: Schema that gives the order of the columns.
        table: Rows that the scores are computed on.

    Returns:
        The columns in descending order of skill; None if there are fewer than two.

    Example:
        >>> from polymodal import Label, Schema, Table, Vector, build, evaluate
        >>> schema = Schema({"size": Vector(1), "species": Label(2), "site": Label(3)})
        >>> values = {"size": torch.randn(9, 1), "species": torch.arange(9) % 2, "site": torch.arange(9) % 3}
        >>> table = Table(values, schema=schema)
        >>> columns = prepare_columns(evaluate(build("mac-wae", schema, latent_dim=2), table), schema, table)
        >>> {column.name: (column.type, column.constant.text) for column in columns.rows}["species"]
        ('label, 2 classes', '55.6 %')
    """
    names = list_columns(schema)
    if len(names) < 2:
        return None
    whole, single = (
        _collect_scores(frame, table, names, "many-to-one"),
        _collect_scores(frame, table, names, "one-to-one"),
    )
    rows = []
    for name in names:
        score = whole.get((name, "others"), ColumnScore(schema[name].metric, constant=_score_constant(table, name)))
        alone = {given: single[name, given].skill for given in names if (name, given) in single}
        rows.append((score.skill, _column(name, schema[name], score, alone)))
    rows.sort(key=lambda row: -row[0] if isfinite(row[0]) else float("inf"))
    others = _list_other_columns(frame, schema, names)
    return Columns(
        rows=[row for _, row in rows] + others,
        names=names,
        lines=[_line(given, names, single) for given in names] if single else [],
        printed=len(names) <= PRINTED,
        units=any(_unit(schema[name]) is not None for name in names),
        baselines=any(isfinite(score.linear) for score in whole.values()),
        others=bool(others),
    )


def _collect_scores(
    frame: pd.DataFrame, table: Table, names: list[str], task: str
) -> dict[tuple[str, str], ColumnScore]:
    """Returns the scores of columns in a task, by target and given columns."""
    frame = frame.astype({"modality": str, "given": str})  # column names such as 1, 2, 3 are read from files as numbers
    metrics = frame["modality"].map({name: table.schema[name].metric for name in names})
    frame = frame[(frame["task"] == task) & (frame["metric"] == metrics)]
    frame = frame.assign(**{column: nan for column in BASELINES if column not in frame})
    known = {
        name: (int(table.observed[:, table.schema.index(name)].sum()), _score_constant(table, name)) for name in names
    }
    scores = {}
    for name, given, metric, value, rows, mean, linear in zip(
        *(frame[column] for column in ("modality", "given", "metric", "value", "rows", *BASELINES)), strict=True
    ):
        count, constant = known[name]
        if isfinite(mean := float(mean)):
            constant = mean
        elif rows != count and (given == "others" or given in names):
            constant = _score_constant(table, name, [given] if task == "one-to-one" else _others(table.schema, name))
        scores[name, given] = ColumnScore(metric, float(value), constant, float(linear))
    return scores


def _others(schema: Schema, name: str) -> list[str]:
    return [other for other in schema if other != name]


def _score_constant(table: Table, name: str, given: list[str] | None = None) -> float:
    """Returns the score of the best constant on rows where the column, and any of `given`, is observed."""
    has = table.observed[:, table.schema.index(name)]
    if given is not None:
        has = has & table.observed[:, [table.schema.index(other) for other in given]].any(1)
    if not has.any():
        return nan
    modality, values = table.schema[name], table.values[name]
    return _score_mode(values[has]) if modality.metric == "acc" else _score_mean(modality, values, has)


def _score_mode(values: Tensor) -> float:
    """Returns the share of the most frequent class in %.

    Example:
        >>> _score_mode(torch.tensor([2, 0, 2, 1]))
        50.0
    """
    return 100 * int(values.unique(return_counts=True)[1].max()) / len(values)


def _score_mean(modality: Modality, values: Tensor, has: Tensor) -> float:
    """Returns the root mean squared error of predicting the mean, over all elements of the rows where `has` is true.

    Example:
        >>> _score_mean(Vector(1), torch.tensor([[1.0], [3.0], [float("nan")]]), torch.tensor([True, True, False]))
        1.0
    """
    # A value near the mean keeps squares accurate; the missing elements of a vector are NaN.
    start = fill_missing(modality.prepare(values[has.nonzero()[0]], torch.float64))
    total, square, count = torch.zeros_like(start), torch.zeros_like(start), torch.zeros_like(start)
    for part, here in zip(values.split(CHUNK), has.split(CHUNK), strict=True):
        apart = modality.prepare(part[here], torch.float64) - start
        total, square = total + apart.nansum(0), square + apart.square().nansum(0)
        count = count + (~apart.isnan()).sum(0)
    errors = (square - total.square() / count.clamp(min=1)).sum()  # of all elements about their means
    return sqrt(max(0.0, float(errors / count.sum())))


def _compute_skill(metric: str, value: float, constant: float) -> float:
    """Returns the skill, see the module; NaN if the constant is perfect.

    Example:
        >>> _compute_skill("acc", 90.0, 60.0), _compute_skill("rmse", 3.0, 2.0), _compute_skill("acc", 100.0, 100.0)
        (0.75, -0.5, nan)
    """
    if metric == "acc":
        return (value - constant) / (100 - constant) if constant < 100 else nan
    return 1 - value / constant if constant > 0 else nan


def _column(name: str, modality: Modality, score: ColumnScore, alone: Mapping[str, float]) -> Column:
    known = {given: skill for given, skill in alone.items() if isfinite(skill)}
    source = max(known, key=known.__getitem__, default=None)
    values = (score.value, score.constant, score.linear)
    best = find_best(values, METRICS[score.metric].better)
    return Column(
        name,
        _describe_type(modality),
        *(Cell(_format_score(modality, value), place in best) for place, value in enumerate(values)),
        skill=_format_skill(score.skill),
        source=DASH if source is None else source,
        alone=Skill() if source is None else _format_skill(known[source]),
    )


def _list_other_columns(frame: pd.DataFrame, schema: Schema, names: list[str]) -> list[Column]:
    """Returns the scores of the modalities that have no baselines and are in no group, such as texts."""
    frame = frame[(frame["task"] == "many-to-one") & (frame["given"] == "others")]
    found = {name: rows for name, rows in frame.groupby("modality", sort=False) if name in schema}
    rows = []
    for name, modality in schema.items():
        if name in names or name not in found:
            continue
        own = found[name][found[name]["metric"] == modality.metric]
        rows += [
            Column(name, modality.description, Cell(f"{value:#.3g} {modality.metric}" if isfinite(value) else DASH))
            for value in own["value"]
        ]
    return rows


def _line(given: str, names: list[str], single: Mapping[tuple[str, str], ColumnScore]) -> SkillRow:
    return SkillRow(
        given,
        [
            None if name == given else _format_skill(single[name, given].skill) if (name, given) in single else Skill()
            for name in names
        ],
    )


def _describe_type(modality: Modality) -> str:
    """Returns a description of the type of a column.

    Example:
        >>> from polymodal.modalities import Label
        >>> _describe_type(Label(3)), _describe_type(Vector(1)), _describe_type(Vector(5))
        ('label, 3 classes', 'number', 'vector of 5')
    """
    if modality.metric == "acc":
        return f"label, {modality.levels} class{'es' if modality.levels != 1 else ''}"
    return "number" if modality.shape == (1,) else f"vector of {modality.shape[0]}"


def _unit(modality: Modality) -> float | None:
    """Returns the factor from errors of a single number to original units; None if there is none, as for logarithms."""
    if not isinstance(modality, Vector) or modality.size > 1 or modality.log or modality.scale is None:
        return None
    return modality.scale[0]


def _format_score(modality: Modality, value: float) -> str:
    """Returns a formatted score; errors are followed by the error in original units, if there is one.

    Example:
        >>> _format_score(Vector(1, scale=(800.0,)), 0.25), _format_score(Vector(2), 0.25)
        ('0.250 (200)', '0.250')
    """
    if not isfinite(value):
        return DASH
    if modality.metric == "acc":
        return f"{value:.1f} %"
    unit = _unit(modality)
    return _number(value) + ("" if unit is None else f" ({_number(value * unit)})")


def _number(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e9 else f"{value:#.3g}"


def _format_skill(skill: float) -> Skill:
    """Returns a formatted skill with its shading.

    Example:
        >>> _format_skill(0.754), _format_skill(-3.0)
        (Skill(text='0.75', heat=75, below=False), Skill(text='-3.00', heat=100, below=True))
    """
    return Skill(f"{skill:z.2f}", round(100 * min(abs(skill), 1)), skill < 0) if isfinite(skill) else Skill()
