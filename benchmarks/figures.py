"""Figures of the curves, written next to the file of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_memory", "draw_times"]

STYLES = {
    "ours": ("ours", "#2c5aca", "o"),
    "reference": ("plain loop", "#a2450a", "s"),
    "in pieces": ("ours, one code at a time", "#88ae27", "v"),
    "bare": ("encoders once, decoders K times", "#636568", "^"),
}
"""Label, colour and mark of what is drawn."""

AXES = {"K": "conditioning indices per step, K", "modalities": "modalities", "batch": "rows per step"}


def draw_times(cases: Sequence[dict[str, Any]], out: Path) -> list[str]:
    """Draws a figure for each axis of `benchmarks.curves`, next to the file of the numbers; returns one line for each.

    Arguments:
        cases: Results of `curves.measure`.
        out: File of the numbers.
    """
    axes = dict.fromkeys(case["axis"] for case in cases)
    return [_draw_times([case for case in cases if case["axis"] == axis], axis, out) for axis in axes]


def draw_memory(cases: Sequence[dict[str, Any]], variants: Sequence[str], out: Path) -> list[str]:
    """Draws a figure of peak memory against K and against the number of modalities; returns a line for it, if any.

    Arguments:
        cases: Results of `memory.measure`.
        variants: Names of the variants that were measured in each case.
        out: File of the numbers.
    """
    drawn = {
        "K": ("polymnist", "draws", [case for case in cases if case["shape"] == "polymnist"]),
        "modalities": ("pictures, K = 10", "modalities", [case for case in cases if "pictures" in case["shape"]]),
    }
    panels = []
    for axis, (title, key, points) in drawn.items():
        if len(points) > 1:
            points = sorted(points, key=lambda case, key=key: case[key])
            panels.append(
                (title, AXES[axis], {name: [(point[key], point[name]) for point in points] for name in variants})
            )
    return (
        [_draw_panels(panels, "peak memory of a step, 10⁶ bytes", out.with_name(f"{out.stem}-memory.png"))]
        if panels
        else []
    )


def _draw_times(cases: Sequence[dict[str, Any]], axis: str, out: Path) -> str:
    panels = []
    for case in cases:
        lines = {
            name: [(point["at"], point[name]) for point in case["points"] if name in point]
            for name in ("reference", "ours", "bare")
        }
        panels.append((case["name"], AXES[axis], lines))
    return _draw_panels(panels, "seconds per step", out.with_name(f"{out.stem}-{axis}.png"))


def _draw_panels(panels: Sequence[tuple[str, str, Mapping[str, Any]]], height: str, path: Path) -> str:
    """Lines with quartiles side by side, written to a file; a line that names it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 4 * len(panels), 3.6), layout="constrained", dpi=120)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for (title, width, lines), ax in zip(panels, axes, strict=True):
        for name, points in lines.items():
            _line(ax, name, points)
        ax.set(title=title, xlabel=width, xlim=(0, None), ylim=(0, None))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(height)
    axes[0].legend(frameon=False)
    figure.savefig(path)
    return f"Figure: {path}"


def _line(ax: Axes, name: str, points: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    if not points:
        return
    label, colour, mark = STYLES[name]
    at = [x for x, _ in points]
    ax.plot(at, [y["median"] for _, y in points], color=colour, marker=mark, markersize=4, label=label)
    ax.fill_between(at, [y["lower"] for _, y in points], [y["upper"] for _, y in points], color=colour, alpha=0.2, lw=0)
