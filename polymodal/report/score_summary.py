"""Scores in the form that the report shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite, nan
from typing import TYPE_CHECKING, NamedTuple

from polymodal.evaluation import COMPANIONS, TASKS
from polymodal.runtime.metric_names import EXPLAINED

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.schema import Schema

__all__ = ["prepare_scores"]


class Headline(NamedTuple):
    """Score at the top of the page."""

    value: str
    metric: str
    better: str
    what: str
    details: list[str]


class Score(NamedTuple):
    """Formatted score, and its position between the worst (0) and the best (100) of its matrix for shading."""

    text: str
    heat: int = 0


class Row(NamedTuple):
    """Scores of one target, or given one modality."""

    name: str
    notes: list[int]
    scores: list[Score]


class Block(NamedTuple):
    """Scores of every modality for one metric, by task, and their mean if there are several modalities."""

    metric: str
    better: str
    rows: list[Row]
    mean: Row | None


class Matrix(NamedTuple):
    """One-to-one scores for one metric: a row per given modality, a column per target."""

    metric: str
    better: str
    targets: list[str]
    rows: list[Row]


class Scores(NamedTuple):
    """All scores of the report."""

    headlines: list[Headline]
    tasks: list[str]
    blocks: list[Block]
    matrices: list[Matrix]
    notes: list[str]
    partial: bool
    explained: dict[str, str]


def prepare_scores(frame: pd.DataFrame, schema: Schema) -> Scores:
    """Prepares scores for the report.

    Arguments:
        frame: Result of `polymodal.evaluate`, or the same read from a file.
        schema: Schema that gives the order of the modalities.

    Returns:
        The formatted scores.
    """
    frame = frame.assign(note=frame["note"].fillna("")).sort_values(
        "modality", key=lambda column: column.map(_order(schema)), kind="stable"
    )
    tasks = [task for task in TASKS if task in set(frame["task"])]
    notes = [note for note in frame["note"].unique() if note]
    groups = [(str(metric), rows) for metric, rows in frame.groupby("metric", sort=False)]
    companions = {name for names in COMPANIONS.values() for name in names}
    return Scores(
        headlines=[
            _headline(metric, rows)
            for metric, rows in groups
            if metric not in companions and rows["value"].notna().any()
        ][:4],
        tasks=tasks,
        blocks=[_block(metric, rows, tasks, notes) for metric, rows in groups],
        matrices=[
            _matrix(metric, rows, schema)
            for metric, rows in ((metric, rows[rows["task"] == "one-to-one"]) for metric, rows in groups)
            if len(rows)
        ],
        notes=notes,
        partial=frame["rows"].nunique() > 1,
        explained={metric: EXPLAINED.get(metric, "") for metric, _ in groups},
    )


def _headline(metric: str, rows: pd.DataFrame) -> Headline:
    means = {task: value for (task,), value in _means(rows, ["task"]).items() if isfinite(value)}
    written = _choose_format(rows["value"])
    names = list(rows["modality"].unique())
    task = next(task for task in ("many-to-one", "reconstruction", "one-to-one") if task in means)
    given = {
        "many-to-one": "given all others",
        "reconstruction": "given all",
        "one-to-one": "given one other, on average",
    }
    of = names[0] if len(names) == 1 else f"mean of {len(names)} modalities"
    rest = [f"{written(means[other])} {given[other]}" for other in given if other != task and other in means]
    return Headline(written(means[task]), metric, str(rows["better"].iloc[0]), f"{of}, {given[task]}", rest)


def _block(metric: str, rows: pd.DataFrame, tasks: list[str], notes: list[str]) -> Block:
    means, written = _means(rows, ["modality", "task"]), _choose_format(rows["value"])
    body = [
        Row(
            str(name),
            [1 + notes.index(note) for note in own["note"].unique() if note],
            [Score(written(means.get((str(name), task), nan))) for task in tasks],
        )
        for name, own in rows.groupby("modality", sort=False)
    ]
    columns = [[means[name, task] for name in rows["modality"].unique() if (name, task) in means] for task in tasks]
    overall = [Score(written(_mean(column))) for column in columns]
    mean = Row("mean", [], overall) if len(body) > 1 else None
    return Block(metric, str(rows["better"].iloc[0]), body, mean)


def _matrix(metric: str, rows: pd.DataFrame, schema: Schema) -> Matrix:
    means, written = _means(rows, ["given", "modality"]), _choose_format(rows["value"])
    heat, order = _heat(means.values(), str(rows["better"].iloc[0])), _order(schema)
    targets = list(rows["modality"].unique())
    sources = sorted(rows["given"].unique(), key=lambda name: order.get(name, len(order)))
    body = [
        Row(
            source,
            [],
            [
                Score(written(means[source, target]), heat(means[source, target]))
                if (source, target) in means
                else Score("")
                for target in targets
            ],
        )
        for source in sources
    ]
    return Matrix(metric, str(rows["better"].iloc[0]), targets, body)


def _means(rows: pd.DataFrame, by: list[str]) -> dict[tuple[str, ...], float]:
    """Returns mean values by the given columns; NaN for groups without a score."""
    return {tuple(map(str, key)): float(own["value"].mean()) for key, own in rows.groupby(by, sort=False)}


def _order(schema: Schema) -> dict[str, int]:
    """Returns the positions of modalities and groups; a group has the position of its first modality."""
    order = {name: place for place, name in enumerate(schema)}
    return order | {group: min(order[name] for name in names) for group, names in schema.groups.items() if names}


def _choose_format(values: Iterable[float]) -> Callable[[float], str]:
    """Returns a formatter for the numbers of one metric, with decimals that suit the largest of them."""
    largest = max((abs(value) for value in values if isfinite(value)), default=0.0)
    decimals = 1 if largest >= 10 else 2 if largest > 1 else 3
    return lambda value: f"{value:.{decimals}f}" if isfinite(value) else "\N{EN DASH}"


def _heat(values: Iterable[float], better: str) -> Callable[[float], int]:
    known = [value for value in values if isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def heat(value: float) -> int:
        if not isfinite(value) or high == low:
            return 0
        share = (value - low) / (high - low)
        return round(100 * (share if better == "higher" else 1 - share))

    return heat


def _mean(values: list[float]) -> float:
    known = [value for value in values if isfinite(value)]
    return sum(known) / len(known) if known else nan
