"""Figures of the report: images and maps of codes as PNG, loss curves as SVG."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import PIL.Image
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "LARGER",
    "OTHER",
    "STYLES",
    "Thumbnail",
    "compute_limits",
    "get_style",
    "make_swatch",
    "make_thumbnail",
    "plot_curve",
    "plot_points",
]

COLORS = (
    "#4ca0fe",
    "#a2450a",
    "#88ae27",
    "#a7359a",
    "#9f904f",
    "#2c5aca",
    "#e563b4",
    "#636568",
    "#805a3c",
    "#d1928c",
)
"""Ten colours that are visible on light and dark backgrounds.

Their CIELAB distances are at least 20 for every type of colour vision.
"""
MARKERS = "os^DvPX<>*"
LARGER = {"P": 1.3, "X": 1.3, "*": 2.0, ".": 0.8}
"""Factors on the size of some markers, so that all markers have the same visual weight."""
STYLES = len(COLORS)
OTHER = -1
"""Style of points whose class has no style."""

INKS = {"#010101": "var(--accent)", "#020202": "var(--muted)", "#030303": "var(--rule)"}
"""Placeholder colours of SVG drawings, and the CSS variables of the light or dark theme that replace them."""
ACCENT, MUTED, RULE = INKS

SIDE, LONGEST = 80, 160  # of an image on the page, in pixels: typical side, maximum side


class Thumbnail(NamedTuple):
    """Image on the page."""

    uri: str
    width: int
    height: int
    enlarged: bool


def make_thumbnail(image: PIL.Image.Image) -> Thumbnail:
    """Scales an image to a side of about 80 pixels; small images are enlarged by an integer factor."""
    from PIL.Image import Resampling

    width, height = image.size
    scale = min(SIDE / sqrt(width * height), LONGEST / max(width, height))
    scale = max(1, round(scale)) if scale > 0.75 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 0.5:  # twice the size on the page is enough for high-resolution screens
        image = image.resize((2 * size[0], 2 * size[1]), Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Thumbnail(_encode_uri(buffer.getvalue()), *size, enlarged=scale > 1)


def compute_limits(points: np.ndarray) -> tuple[float, float, float, float]:
    """Returns left, right, bottom and top of a square that contains all points `(N, 2)`, with a margin."""
    low, high = points.min(0), points.max(0)
    (x, y), half = (low + high) / 2, max(0.54 * float((high - low).max()), 1e-6)
    return x - half, x + half, y - half, y + half


def plot_points(
    points: np.ndarray, styles: np.ndarray, within: tuple[float, float, float, float], side: int = 240
) -> str:
    """Plots points as a transparent PNG, at twice its size on the page.

    Arguments:
        points: Points `(N, 2)`.
        styles: Style numbers of the points, `(N,)`.
        within: Axis limits: left, right, bottom and top.
        side: Side of the image on the page, in pixels.

    Returns:
        Data URI of the PNG.
    """
    with _figure(side, side) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=within[:2], ylim=within[2:])
        axes.axis("off")
        for style in np.unique(styles):
            color, marker = get_style(int(style))
            x, y = points[styles == style].T
            size = 15 * LARGER.get(marker, 1.0)
            axes.scatter(x, y, s=size, c=color, marker=marker, alpha=0.7, linewidths=0)  # pyright: ignore[reportArgumentType]
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144, transparent=True, metadata={"Software": None})
    return _encode_uri(buffer.getvalue())


def make_swatch(style: int) -> tuple[str, str]:
    """Returns the colour of a style and the outline of its marker as SVG polygon points in -1..1."""
    from matplotlib.markers import MarkerStyle

    color, marker = get_style(style)
    shape = MarkerStyle(marker)  # pyright: ignore[reportArgumentType]
    outline = shape.get_path().transformed(shape.get_transform()).to_polygons()[0]
    outline = outline / np.abs(outline).max() * [1, -1]
    return color, " ".join(f"{x:.3f},{y:.3f}" for x, y in outline)


def plot_curve(
    lines: Mapping[str, Sequence[float]],
    epochs: Sequence[float],
    best: float | None,
    name: str,
    level: float | None = None,
) -> str:
    """Plots losses per epoch as SVG, with the colours and font of the page.

    Arguments:
        lines: Losses by "train" or "validation".
        epochs: Epochs of the losses.
        best: Epoch to mark; None marks none.
        name: Prefix of all ids, which keeps the ids of several figures on a page distinct.
        level: Reference value, drawn as a horizontal line; None draws none.

    Returns:
        An `svg` element.
    """
    with _figure(340, 190) as figure:
        axes = figure.add_axes((0.15, 0.14, 0.83, 0.8))
        _frame(axes)
        marker = "o" if len(epochs) < 3 else ""
        for split, values in lines.items():
            known = split == "validation"
            color, dashes = (ACCENT, "-") if known else (MUTED, (0, (4, 2)))
            axes.plot(epochs, values, color=color, linestyle=dashes, linewidth=1.6, marker=marker, markersize=3)
        if level is not None:
            axes.axhline(level, color=MUTED, linewidth=1.2, zorder=0)
        if best is not None:
            axes.axvline(best, color=MUTED, linewidth=1, linestyle=":", zorder=0)
            if "validation" in lines:
                at = lines["validation"][list(epochs).index(best)]
                axes.plot([best], [at], marker="o", markersize=5, color=ACCENT, clip_on=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _adapt(buffer.getvalue(), name)


def _frame(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(color=RULE, labelcolor=MUTED, labelsize=11, length=3)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _adapt(svg: str, name: str) -> str:
    """Adapts an SVG drawing to HTML: removes prologue, size, font and colours, and makes its ids unique."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font\1: \2inherit", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for ink, color in INKS.items():
        svg = svg.replace(ink, color)
    return svg


@contextmanager
def _figure(width: int, height: int) -> Iterator[Figure]:
    """Yields an empty figure of a size in pixels, whose files depend on the drawing only."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "polymodal", "font.family": "DejaVu Sans"}):
        yield Figure(figsize=(width / 72, height / 72))


def get_style(style: int) -> tuple[str, str]:
    """Returns the colour and the marker of a style."""
    return ("#8a8a8a", ".") if style == OTHER else (COLORS[style % STYLES], MARKERS[style % STYLES])


def _encode_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
