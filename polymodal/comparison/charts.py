"""Figures of a comparison: average ranks, win-loss matrix and maps of codes, and saving them as PDF and PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.comparison.display_names import assign_styles, format_model_name, format_task_name
from polymodal.io import checkpoint
from polymodal.report import figures
from polymodal.runtime.formatting import printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "INK",
    "QUIET",
    "create_figure",
    "plot_code_maps",
    "plot_ranks",
    "plot_win_loss",
    "save_figure",
    "simplify_axes",
]

DPI = 160
"""Resolution of PNG files in pixels per inch; the page shows an inch as about 100 pixels."""
INK, QUIET, GRID = "#1d1f21", "#5d636b", "#dfdfd9"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names may contain dollar signs
}
ACROSS = 4
"""Maximum number of panels of codes side by side."""
MARKS = ((0.01, "**"), (0.05, "*"))
"""Significance levels below which a win share is marked, and their marks."""


@contextmanager
def create_figure(width: float, height: float) -> Iterator[Figure]:
    """Yields an empty figure of a size in inches, in the common style; matplotlib settings are restored afterwards."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), facecolor="white", layout="constrained")


def save_figure(figure: Figure, path: Path) -> bytes:
    """Writes a figure as PATH.pdf and PATH.png, whose bytes depend on the drawing only.

    Arguments:
        figure: Figure to write.
        path: Path without suffix.

    Returns:
        Bytes of the PNG file.
    """
    import matplotlib

    undated: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    files = {}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font has no glyphs for some scripts and shows boxes
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # keep the layout, which is slow to compute, for both files
        for kind, metadata in undated.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
            files[kind] = buffer.getvalue()
            checkpoint.write_bytes(path.with_name(f"{path.name}.{kind}"), files[kind])
    return files["png"]


def simplify_axes(axes: Axes) -> None:
    """Removes the top and right spines and adds a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, width=0.7)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def plot_ranks(ranks: pd.DataFrame) -> Figure:
    """Plots average performance ranks with standard errors: a panel per task, a bar per model.

    Arguments:
        ranks: Result of `polymodal.comparison.ranking.compute_ranks`.

    Source: MAC-WAE, Fig. 3.
    """
    models, tasks = list(ranks["model"].unique()), list(ranks["task"].unique())
    style = assign_styles(models)
    across = min(3, len(tasks))
    down = ceil(len(tasks) / across)
    with create_figure(max(4.5, 3.3 * across), down * (1.1 + 0.27 * len(models))) as figure:
        panels = iter(figure.subplots(down, across, squeeze=False).flat)
        for task, axes in zip(tasks, panels, strict=False):
            own = ranks[ranks["task"] == task][::-1]
            _plot_bars(axes, own, [figures.get_style(style[model])[0] for model in own["model"]])
            axes.set_title(format_task_name(task), loc="left", fontweight="bold")
        for axes in panels:
            axes.remove()
        figure.supxlabel("average performance rank and its standard error (1: always best, 0: always worst)")
    return figure


def _plot_bars(axes: Axes, ranks: pd.DataFrame, colors: Sequence[str]) -> None:
    errors = ranks["standard_error"].fillna(0).to_numpy(float)
    names = [format_model_name(model) for model in ranks["model"]]
    axes.barh(names, ranks["mean"], color=colors, height=0.72)
    axes.errorbar(ranks["mean"], names, xerr=errors, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    for y, (mean, error) in enumerate(zip(ranks["mean"], errors, strict=True)):
        axes.text(mean + error + 0.02, y, f"{mean:.3f}", va="center", fontsize=8)
    simplify_axes(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.22), xticks=[0, 0.25, 0.5, 0.75, 1], ylim=(-0.6, len(ranks) - 0.4))
    axes.set_xticklabels(["0", ".25", ".5", ".75", "1"])


def plot_win_loss(table: pd.DataFrame, models: Sequence[str]) -> Figure:
    """Plots the win-loss matrix: the share of outcomes in which the row's model is better than the column's.

    Arguments:
        table: Result of `polymodal.comparison.ranking.compute_win_loss`.
        models: Models in the order of rows and columns.

    Source: MAC-WAE, Fig. 4.
    """
    import numpy as np

    shares, p = (
        table.pivot(index="row", columns="column", values=name)
        .reindex(index=list(models), columns=list(models))
        .to_numpy(float)
        for name in ("share", "p")
    )
    side = 0.72 * len(models)
    with create_figure(side + 2.4, side + 1.0) as figure:
        axes = figure.subplots()
        image = axes.imshow(np.ma.masked_invalid(shares), cmap="PuOr", vmin=0, vmax=1)
        for i, j in np.argwhere(np.isfinite(shares)).tolist():
            share, mark = float(shares[i, j]), _format_significance(float(p[i, j]))
            color = "white" if _compute_luminance(image.get_cmap()(share)) < 0.3 else INK
            axes.text(j, i, _format_share(share), ha="center", va="center", color=color, fontsize=9.5)
            axes.text(j, i + 0.31, mark, ha="center", va="center", color=color, fontsize=10)
        names = [format_model_name(model) for model in models]
        axes.set_xticks(range(len(models)), names, rotation=40, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(len(models)), names)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
        axes.spines[:].set_visible(False)
        axes.set_facecolor("#e4e4df")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=18, ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.set_label("share of outcomes won by the model of the row")
    return figure


def _compute_luminance(color: Any) -> float:
    """Returns the relative luminance of an sRGB colour, from 0 (black) to 1 (white), as used for contrast."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _format_share(share: float) -> str:
    return f"{share:g}" if share in (0, 1) else f"{share:.2f}".removeprefix("0")


def _format_significance(p: float) -> str:
    return next((mark for limit, mark in MARKS if p < limit), "") if isfinite(p) else ""


def plot_code_maps(points: pd.DataFrame) -> Figure:
    """Plots codes in two dimensions, coloured by class: models side by side, a panel per conditioning.

    The axes are the same in all panels of a model.

    Arguments:
        points: Columns `model`, `given`, `label` (the class; -1, empty or NaN if unknown), `x` and `y`.

    Source: MAC-WAE, Fig. 5.
    """
    models, subsets = list(points["model"].unique()), list(points["given"].unique())
    style, names = _assign_class_styles(points["label"])
    points = points.assign(style=style)
    across = max(1, min(ACROSS // len(models), len(subsets)))  # panels side by side per model
    down, side = ceil(len(subsets) / across), 9.6 / (across * len(models))
    side = min(2.4, side)
    with create_figure(side * across * len(models), 0.9 + (side + 0.25) * down) as figure:
        parts = figure.subfigures(2, len(models), squeeze=False, height_ratios=[(side + 0.25) * down + 0.3, 0.4])
        for part, model in zip(parts[0], models, strict=True):
            own = points[points["model"] == model]
            limits = figures.compute_limits(own[["x", "y"]].to_numpy(float))
            panels = list(part.subplots(down, across, squeeze=False).flat)
            part.suptitle(format_model_name(model), fontsize=11, fontweight="bold")
            for axes, given in zip(panels, subsets, strict=False):
                _plot_codes(axes, own[own["given"] == given], limits)
                axes.set_title(printable(given), fontsize=9)
            for axes in panels[len(subsets) :]:
                axes.remove()
        _add_legend(figure, names)
    return figure


def _assign_class_styles(labels: pd.Series[Any]) -> tuple[pd.Series[int], dict[str, int]]:
    """Returns the style of each point, and the styles of the most frequent classes by name."""
    known = labels[labels.notna() & ~labels.isin([-1, "", "-1"])]
    own = sorted(known.value_counts(sort=True).index[: figures.STYLES])
    place = {label: style for style, label in enumerate(own)}
    names = {f"{label:g}" if isinstance(label, float) else printable(label): style for label, style in place.items()}
    rest = labels.map(place).isna().any()
    word = "no class" if len(own) == known.nunique() else "others"
    return labels.map(place).fillna(figures.OTHER).astype(int), names | ({word: figures.OTHER} if rest and own else {})


def _plot_codes(axes: Axes, own: pd.DataFrame, limits: tuple[float, float, float, float]) -> None:
    for number, points in own.groupby("style"):
        color, marker = figures.get_style(int(number))  # pyright: ignore[reportArgumentType]
        size = 9 * figures.LARGER.get(marker, 1.0)
        axes.scatter(points["x"], points["y"], s=size, c=color, marker=marker, alpha=0.75, linewidths=0)  # pyright: ignore[reportArgumentType]
    axes.set(xlim=limits[:2], ylim=limits[2:], xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_color(GRID)


def _add_legend(figure: Figure, names: dict[str, int]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", color=color, marker=marker, markersize=6)
        for color, marker in map(figures.get_style, names.values())
    ]
    if names:
        columns = 11 if max(map(len, names)) <= 4 else 5  # keeps the legend within the figure
        figure.legend(handles, list(names), loc="lower center", ncols=min(columns, len(names)), fontsize=8.5)
