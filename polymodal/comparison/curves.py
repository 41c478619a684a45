"""Curves of a comparison: over a varied setting, over the number of masks K, over the number of given modalities.

The relative performance for K is s_K / s_ref where higher scores are better and s_ref / s_K where lower ones are. Here,
s_K is the score with K conditioning masks per batch and s_ref the score with the reference number of masks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from polymodal.comparison.charts import INK, QUIET, create_figure, simplify_axes
from polymodal.comparison.display_names import assign_styles, format_model_name, format_task_name
from polymodal.report import figures
from polymodal.runtime.formatting import printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["parse_number_of_others", "plot_given_modalities", "plot_mask_numbers", "plot_sweep"]

REFERENCE = 10
"""Reference number of masks K for relative performance, as in the paper."""
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}
TICKED = 5
"""Largest number of values with a tick each, and smallest ratio of largest to smallest value for a logarithmic axis."""
TRUTH = "the truth"
"""Value of `given` for scores of the classifier on true values instead of predictions."""
LEVEL = "classifier, on true values"
FEW = 4
"""Largest number of lines whose bands are drawn in the stronger shade."""


def plot_sweep(table: pd.DataFrame, chosen: Collection[tuple[str, str]] = ()) -> Figure:
    """Plots performance over a varied setting: a row per modality, a column per model.

    The band is from the minimum to the maximum over seeds.

    Arguments:
        table: Scores of one task and data set, with `name`, `number`, `setting`, and optionally `seed` and `given`.
        chosen: Pairs of model and setting whose point has a ring.

    Source: MAC-WAE, supplementary Figures 2 to 4.
    """
    points = _average_over_seeds(table, ["modality", "metric", "better", "model", "name", "number", "setting"])
    rows = list(points[["modality", "metric", "better"]].drop_duplicates().itertuples(index=False, name=None))
    columns = list(points[["model", "name"]].drop_duplicates().itertuples(index=False, name=None))
    style = assign_styles(dict.fromkeys(model for model, _ in columns))
    width = min(2.6, max(0.95, 9.0 / len(columns)))
    with create_figure(0.9 + width * len(columns), 0.7 + 1.25 * len(rows)) as figure:
        grid = figure.subplots(len(rows), len(columns), sharey="row", squeeze=False)
        for across, (row, (modality, metric, better)) in zip(grid, enumerate(rows), strict=True):
            across[0].set_ylabel(f"{printable(modality)}\n{printable(metric)} {ARROWS[better]}")
            for axes, (model, name) in zip(across, columns, strict=True):
                own = points[(points["modality"] == modality) & (points["model"] == model) & (points["name"] == name)]
                _plot_line(axes, own, style[model])
                ring = own[[(model, setting) in chosen for setting in own["setting"]]]
                axes.plot(
                    ring["number"], ring["mean"], "o", markersize=9, markerfacecolor="none", color=INK, clip_on=False
                )
                axes.set_xmargin(0.12)
                simplify_axes(axes)
                _set_number_ticks(axes, own["number"], labelled=row == len(rows) - 1)
        for axes, (model, _) in zip(grid[0], columns, strict=True):
            axes.set_title(format_model_name(model), fontsize=9, fontweight="bold")
        for axes, (_, name) in zip(grid[-1], columns, strict=True):
            axes.set_xlabel(printable(name))
    return figure


def plot_mask_numbers(table: pd.DataFrame) -> Figure:
    """Plots performance of one model over the number of masks K, relative to that at K = 10: a panel per task.

    If lower values are better, the inverse ratio is shown, so that higher is always better. If there is no K = 10, the
    largest K is the reference. The band is from the minimum to the maximum over seeds.

    Arguments:
        table: Scores of one model and data set, with `number`, and optionally `seed` and `given`.

    Source: MAC-WAE, supplementary Figure 1.
    """
    points, reference = _compute_relative_scores(table)
    tasks, modalities = list(points["task"].unique()), list(points["modality"].unique())
    with create_figure(max(4.5, 3.2 * len(tasks)), 3.1) as figure:
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            axes.axhline(1, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
            for place, modality in enumerate(modalities):
                own = points[(points["task"] == task) & (points["modality"] == modality)]
                _plot_line(axes, own, place, printable(modality), len(modalities))
            axes.set_title(format_task_name(task), loc="left", fontweight="bold")
            axes.set_xlabel("number of masks K")
            simplify_axes(axes)
            _set_number_ticks(axes, points["number"])
        panels[0].set_ylabel(f"relative to K = {reference:g}\n(above 1: better)")
        _add_legend(figure, panels)
    return figure


def plot_given_modalities(table: pd.DataFrame) -> Figure:
    """Plots scores over the number of other modalities given: a panel per modality, a line per model.

    Arguments:
        table: Scores of one task and data set. `given` is "1 other", "2 others", ..., or "the truth", which is drawn
            as a horizontal line. Rows with another value are left out.
    """
    points = _average_over_seeds(table, ["modality", "metric", "better", "model", "given"])
    level = points[points["given"] == TRUTH].groupby("modality")["mean"].mean()
    points = points.assign(number=points["given"].map(parse_number_of_others)).dropna(subset="number")
    kinds = list(points[["modality", "metric", "better"]].drop_duplicates().itertuples(index=False, name=None))
    models = list(points["model"].unique())
    style, across = assign_styles(models), 2 if len(kinds) == 4 else min(3, len(kinds))
    down = ceil(len(kinds) / across)
    with create_figure(max(4.5, 3.3 * across), 0.5 + 2.2 * down) as figure:
        panels = list(figure.subplots(down, across, squeeze=False).flat)
        for axes, (modality, metric, better) in zip(panels, kinds, strict=False):
            for model in models:
                own = points[(points["modality"] == modality) & (points["model"] == model)]
                _plot_line(axes, own, style[model], format_model_name(model), len(models))
            if modality in level:
                axes.axhline(level[modality], color=QUIET, linestyle=(0, (4, 3)), linewidth=1, label=LEVEL)
            axes.set_title(printable(f"{modality}, {metric} {ARROWS[better]}"), loc="left", fontsize=9)
            simplify_axes(axes)
            _set_integer_ticks(axes)
        for axes in panels[max(0, len(kinds) - across) : len(kinds)]:
            axes.set_xlabel("other modalities given")
        for axes in panels[len(kinds) :]:
            axes.remove()
        _add_legend(figure, panels[: len(kinds)])
    return figure


def parse_number_of_others(text: str) -> float:
    """Returns the number of other modalities given; NaN for other texts.

    Example:
        >>> [parse_number_of_others(text) for text in ("1 other", "12 others", "the truth")]
        [1.0, 12.0, nan]
    """
    number, _, what = text.partition(" ")
    return float(number) if number.isdigit() and what in ("other", "others") else float("nan")


def _average_over_seeds(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Returns mean, minimum and maximum over seeds; the value of a seed is the mean over the other columns."""
    return _over_seeds(table.assign(seed=table.get("seed", 0)), by)


def _over_seeds(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    seeds = table.dropna(subset="value").groupby([*by, "seed"], sort=False)["value"].mean().reset_index()
    return seeds.groupby(by, sort=False)["value"].agg(["mean", "min", "max"]).reset_index()


def _compute_relative_scores(table: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Returns scores relative to those of the same seed at the reference, and the reference."""
    import numpy as np

    numbers = table["number"].unique()
    reference = float(REFERENCE if REFERENCE in numbers else max(numbers))
    key = ["task", "modality", "better", "seed"]
    seeds = table.assign(seed=table.get("seed", 0)).dropna(subset="value")
    seeds = seeds.groupby([*key, "number"], sort=False)["value"].mean().reset_index()
    base = seeds[seeds["number"] == reference].drop(columns="number")
    seeds = seeds.merge(base, on=key, suffixes=("", "_reference"))
    ratio = seeds["value"] / seeds["value_reference"]
    value = ratio.where(seeds["better"] == "higher", 1 / ratio).replace([np.inf, -np.inf], np.nan)
    return _over_seeds(seeds.assign(value=value), ["task", "modality", "number"]), reference


def _plot_line(axes: Axes, own: pd.DataFrame, style: int, label: str | None = None, among: int = 1) -> None:
    own = own.sort_values("number")
    color, marker = figures.get_style(style)
    if label is not None and label.startswith("_"):  # matplotlib leaves such labels out of the legend
        label = f" {label}"
    size = 4 * figures.LARGER.get(marker, 1.0) ** 0.5
    axes.fill_between(
        own["number"], own["min"], own["max"], color=color, alpha=0.18 if among <= FEW else 0.07, linewidth=0
    )
    axes.plot(own["number"], own["mean"], color=color, marker=marker, markersize=size, linewidth=1.4, label=label)


def _set_number_ticks(axes: Axes, numbers: Iterable[float], *, labelled: bool = True) -> None:
    """Sets ticks at the numbers, or at the first, middle and last of many; wide ranges get a logarithmic axis."""
    known = sorted({*numbers})
    if not known:
        return
    if known[0] > 0 and known[-1] / known[0] >= TICKED:
        axes.set_xscale("log")
    ticks = known if len(known) <= TICKED else [known[0], known[len(known) // 2], known[-1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks] if labelled else [""] * len(ticks))
    axes.set_xticks([], minor=True)


def _set_integer_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Adds one legend for all panels below them."""
    entries: dict[str, Any] = {}
    for axes in panels:
        entries |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    longest = max(map(len, entries), default=1)
    columns = min(len(entries), 6 if longest <= 10 else 4)  # keeps the legend within the figure
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns, fontsize=8.5)
