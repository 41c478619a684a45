"""Tables of a comparison in the form that its page shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.comparison.display_names import format_model_name, format_task_name
from polymodal.comparison.scores import find_task_position, is_companion

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DASH",
    "Sheet",
    "build_best_sheet",
    "build_outcome_sheets",
    "build_rank_sheet",
    "build_sheet",
    "build_task_sheet",
    "build_win_sheet",
    "index_references",
]

DASH = "\N{EN DASH}"
INFINITY = "\N{INFINITY}"
AS_HERE = {"ssim": "ssim-paper", "bleu3": "bleu-3"}
"""Names of metrics in the library, by their names in the paper."""
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}
FOLDED = 20
"""Number of lines above which a table next to a figure is folded; for tables without a figure, it is doubled."""


class SheetCell(NamedTuple):
    """Number, detail in small print, reference value of another source, and whether it is the best of its line."""

    text: str
    detail: str = ""
    reference: str = ""
    best: bool = False


class SheetRow(NamedTuple):
    """Row of a table; a quiet row has a secondary metric and is not used for comparisons."""

    name: str
    cells: list[SheetCell]
    quiet: bool = False


class SheetBlock(NamedTuple):
    """Lines under a common heading."""

    head: str
    lines: list[SheetRow]


class Sheet(NamedTuple):
    """Table and the CSV file with its numbers; `words` has the indices of the text columns."""

    name: str
    heads: list[str]
    blocks: list[SheetBlock]
    file: str
    words: tuple[int, ...] = ()
    folded: bool = False


def build_rank_sheet(table: pd.DataFrame, intervals: pd.DataFrame | None, file: str) -> Sheet:
    """Returns the table of average performance ranks: a line per model, a column per task.

    Cells have the standard error and, if available, the interval over seeds.
    """
    tasks = list(table["task"].unique())
    within = {} if intervals is None else _format_intervals(intervals[intervals["what"] == "rank"], ["task", "model"])
    rows = {(row.task, row.model): row for row in table.itertuples()}
    lines = []
    for model in table["model"].unique():
        cells = []
        for task in tasks:
            row: Any = rows.get((task, model))
            if row is None:
                cells.append(SheetCell(DASH))
            else:
                leads = row.mean == table.loc[table["task"] == task, "mean"].max()
                error = f"± {row.standard_error:.3f}" if isfinite(row.standard_error) else ""
                cells.append(SheetCell(f"{row.mean:.3f}", error, within.get((task, model), ""), leads))
        lines.append(SheetRow(format_model_name(model), cells))
    return Sheet("Average performance rank", ["model", *map(format_task_name, tasks)], [SheetBlock("", lines)], file)


def build_best_sheet(table: pd.DataFrame, count: int, file: str) -> Sheet:
    """Returns the table with the number of outcomes in which each model is best."""
    lines = [
        SheetRow(format_model_name(model), [SheetCell(f"{number} of {count}")]) for model, number in table.to_numpy()
    ]
    return Sheet("Outcomes in which a model is best", ["model", "outcomes"], [SheetBlock("", lines)], file)


def build_win_sheet(table: pd.DataFrame, models: Sequence[str], intervals: pd.DataFrame | None, file: str) -> Sheet:
    """Returns the table of wins of all ordered pairs of models: a block per model, a line per opponent."""
    within = (
        {} if intervals is None else _format_intervals(intervals[intervals["what"] == "share"], ["model", "against"])
    )
    heads = ["against", "wins", "share", "p", "p, Holm"] + (["share, 95 % interval over seeds"] if within else [])
    blocks = []
    for model in models:
        lines = []
        pairs: Any = table[table["row"] == model].itertuples()
        for row in pairs:
            numbers = (
                f"{row.wins} of {row.outcomes}",
                _format_number(row.share, ".3f"),
                _format_p(row.p),
                _format_p(row.holm),
            )
            cells = [SheetCell(text) for text in numbers]
            cells += [SheetCell(within.get((row.row, row.column)) or DASH)] if within else []
            lines.append(SheetRow(format_model_name(row.column), cells))
        blocks.append(SheetBlock(format_model_name(model), lines))
    return Sheet("Pairwise wins and losses", heads, blocks, file, folded=True)


def build_outcome_sheets(
    table: pd.DataFrame, models: Sequence[str], reference: Mapping[tuple[str, ...], float], file: str
) -> list[Sheet]:
    """Returns the tables of all outcomes.

    There is a table per data set, with a block per task, a line per modality and metric, and a column per model.

    Arguments:
        table: Result of `polymodal.comparison.scores.summarise`.
        models: Models in the order of the columns.
        reference: Reference values of another source, by `make_key`.
        file: Name of the CSV file with the table.
    """
    table = table.assign(quiet=is_companion(table))
    sheets = []
    for dataset, own in table.groupby("dataset", sort=False):
        heads = ["", *map(format_model_name, models)]
        blocks = [
            SheetBlock(format_task_name(str(task)), _build_rows(rows, models, reference, ["modality"]))
            for task, rows in sorted(own.groupby("task", sort=False), key=lambda pair: find_task_position(str(pair[0])))
        ]
        sheets.append(Sheet(str(dataset), heads, blocks, file))
    return sheets


def build_task_sheet(table: pd.DataFrame, models: Sequence[str], file: str) -> Sheet:
    """Returns the table of a further task: a block per data set, a line per modality, conditioning and metric."""
    table = table.assign(quiet=is_companion(table))
    names = ["modality", "given"] if table["given"].nunique() > 1 else ["modality"]
    blocks = [
        SheetBlock(str(name), _build_rows(rows, models, {}, names))
        for name, rows in table.groupby("dataset", sort=False)
    ]
    lines = sum(len(block.lines) for block in blocks)
    return Sheet("All scores", ["", *map(format_model_name, models)], blocks, file, folded=lines > FOLDED)


def build_sheet(frame: pd.DataFrame, name: str, file: str, by: str | None = None) -> Sheet:
    """Returns a data frame as a table, with the first column as line headings and a block per value of `by`."""
    from pandas.api.types import is_numeric_dtype

    groups = [("", frame)] if by is None else frame.groupby(by, sort=False)
    frame = frame if by is None else frame.drop(columns=by)
    blocks = [
        SheetBlock(
            str(head),
            [
                SheetRow(str(first), [SheetCell(_format_value(value)) for value in rest])
                for first, *rest in own[[*frame]].to_numpy(object)
            ],
        )
        for head, own in groups
    ]
    words = tuple(place for place, column in enumerate(frame) if not is_numeric_dtype(frame[column]))
    return Sheet(name, [str(head).replace("_", " ") for head in frame], blocks, file, words, len(frame) > 2 * FOLDED)


def make_key(task: str, dataset: str, modality: str, metric: str, model: str) -> tuple[str, ...]:
    """Returns a normalised key that matches the same score in different sources, regardless of spelling.

    Example:
        >>> make_key("many_to_one", "MHD", "label", "ACC", "MMVAE+")
        ('many-to-one', 'mhd', 'label', 'acc', 'mmvae-plus')
    """
    return (
        format_task_name(task).lower(),
        dataset.lower(),
        modality.lower(),
        metric.lower(),
        model.lower().replace("+", "-plus"),
    )


def index_references(reference: pd.DataFrame | None) -> dict[tuple[str, ...], float]:
    """Returns the paper's numbers by `make_key`; its SSIM is called `ssim-paper` here.

    Example:
        >>> import pandas as pd
        >>> index_references(pd.DataFrame({"task": ["many_to_one"], "dataset": "CUB", "modality": "img",
        ...     "metric": "SSIM", "better": "higher", "model": "Nexus", "value": 0.2}))
        {('many-to-one', 'cub', 'img', 'ssim-paper', 'nexus'): 0.2}
    """
    if reference is None:
        return {}
    columns = ["task", "dataset", "modality", "metric", "model"]
    rows = reference.dropna(subset="value").assign(metric=lambda rows: rows["metric"].str.lower().replace(AS_HERE))
    return {make_key(*map(str, row)): float(value) for *row, value in rows[[*columns, "value"]].to_numpy(object)}


def _build_rows(
    table: pd.DataFrame, models: Sequence[str], reference: Mapping[tuple[str, ...], float], names: list[str]
) -> list[SheetRow]:
    return [
        _build_row(
            rows, models, reference, ", given ".join(str(rows[name].iloc[0]) for name in names if rows[name].iloc[0])
        )
        for _, rows in table.groupby([*names, "metric", "better"], sort=False)
    ]


def _build_row(
    rows: pd.DataFrame, models: Sequence[str], reference: Mapping[tuple[str, ...], float], name: str
) -> SheetRow:
    written, better = _choose_format(rows["mean"]), str(rows["better"].iloc[0])
    top = rows["mean"].max() if better == "higher" else rows["mean"].min()
    quiet, differ = bool(rows["quiet"].iloc[0]), rows["mean"].nunique() > 1
    own: dict[Any, Any] = {row.model: row for row in rows.itertuples()}
    cells = []
    for model in models:
        if (row := own.get(model)) is None:
            cells.append(SheetCell(DASH))
            continue
        other = reference.get(make_key(row.task, row.dataset, row.modality, row.metric, model), nan)
        spread = f"± {written(row.standard_deviation)}" if row.seeds > 1 else ""
        best = differ and row.mean == top and not quiet
        cells.append(SheetCell(written(row.mean), spread, written(other) if isfinite(other) else "", best))
    return SheetRow(f"{name}, {rows['metric'].iloc[0]}\N{NO-BREAK SPACE}{ARROWS[better]}", cells, quiet)


def _format_intervals(intervals: pd.DataFrame, by: list[str]) -> dict[tuple[str, ...], str]:
    return {
        tuple(keys): f"{low:.2f} to {high:.2f}"
        for *keys, low, high in intervals[[*by, "low", "high"]].to_numpy(object)
        if isfinite(low)
    }


def _choose_format(values: Iterable[float]) -> Callable[[float], str]:
    """Returns a formatter for the numbers of one line, with decimals for the largest: 3 for SSIM, 2 for percentages."""
    largest = max((abs(value) for value in values if isfinite(value)), default=1.0)
    decimals = 1 if largest > 100 else 2 if largest >= 10 else 3 if largest >= 0.1 or not largest else 4
    return lambda value: f"{value:.{decimals}f}" if isfinite(value) else _format_number(value, "")


def _format_number(value: float, form: str) -> str:
    return format(value, form) if isfinite(value) else DASH if value != value else f"{value:+}".replace("inf", INFINITY)


def _format_p(p: float) -> str:
    return DASH if not isfinite(p) else f"{p:.3f}" if p >= 0.0005 else f"{p:.0e}".replace("e-0", "e-")


def _format_value(value: Any) -> str:
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return DASH
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
