"""Pictures for the page: values and maps of codes as PNG, loss curves as SVG."""

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

__all__ = ["OTHER", "STYLES", "Picture", "curve", "limits", "look", "picture", "scatter", "swatch"]

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
"""Ten colours at least 20 apart in CIELAB, with any kind of colour vision, that show on light and on dark."""
MARKERS = "os^DvPX<>*"
LARGER = {"P": 1.3, "X": 1.3, "*": 2.0, ".": 0.8}
"""What some marks must be enlarged by to look as heavy as the others."""
STYLES = len(COLORS)
OTHER = -1
"""The style of what has none of its own."""

INKS = {"#010101": "var(--accent)", "#020202": "var(--muted)", "#030303": "var(--rule)"}
"""Colours to draw with, and what the page makes of them in its light and its dark theme."""
ACCENT, MUTED, RULE = INKS

SIDE, LONGEST = 80, 160  # of a picture on the page, in pixels: about, and at most


class Picture(NamedTuple):
    """A picture to put into the page."""

    uri: str
    width: int
    height: int
    enlarged: bool


def picture(image: PIL.Image.Image) -> Picture:
    """A picture about 80 pixels wide and high: small ones enlarged by a whole factor, large ones made smaller."""
    from PIL.Image import Resampling

    width, height = image.size
    scale = min(SIDE / sqrt(width * height), LONGEST / max(width, height))
    scale = max(1, round(scale)) if scale > 0.75 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 0.5:  # twice the size on the page is as much as a fine screen shows
        image = image.resize((2 * size[0], 2 * size[1]), Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(_uri(buffer.getvalue()), *size, enlarged=scale > 1)


def limits(points: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a square that holds all points `(N, 2)`, with a margin."""
    low, high = points.min(0), points.max(0)
    (x, y), half = (low + high) / 2, max(0.54 * float((high - low).max()), 1e-6)
    return x - half, x + half, y - half, y + half


def scatter(points: np.ndarray, styles: np.ndarray, within: tuple[float, float, float, float], side: int = 240) -> str:
    """Points as a transparent PNG, at twice the size it has on the page.

    Arguments:
        points: `(N, 2)`.
        styles: Numbers of their styles, `(N,)`.
        within: Left, right, bottom and top.
        side: Of the picture on the page, in pixels.

    Returns:
        A data URI.
    """
    with _figure(side, side) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=within[:2], ylim=within[2:])
        axes.axis("off")
        for style in np.unique(styles):
            color, marker = look(int(style))
            x, y = points[styles == style].T
            size = 15 * LARGER.get(marker, 1.0)
            axes.scatter(x, y, s=size, c=color, marker=marker, alpha=0.7, linewidths=0)  # pyright: ignore[reportArgumentType]
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144, transparent=True, metadata={"Software": None})
    return _uri(buffer.getvalue())


def swatch(style: int) -> tuple[str, str]:
    """A style's colour, and the outline of its mark: the points of a polygon within -1..1."""
    from matplotlib.markers import MarkerStyle

    color, marker = look(style)
    shape = MarkerStyle(marker)  # pyright: ignore[reportArgumentType]
    outline = shape.get_path().transformed(shape.get_transform()).to_polygons()[0]
    outline = outline / np.abs(outline).max() * [1, -1]
    return color, " ".join(f"{x:.3f},{y:.3f}" for x, y in outline)


def curve(
    lines: Mapping[str, Sequence[float]],
    epochs: Sequence[float],
    best: float | None,
    name: str,
    level: float | None = None,
) -> str:
    """Losses per epoch as SVG, in colours and type that the page decides on.

    Arguments:
        lines: By "train" or "validation".
        epochs: Of the losses.
        best: The epoch to mark.
        name: Goes before every id, so that several drawings fit on one page.
        level: A value to compare the lines with, drawn as a horizontal line.

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
    """A drawing that stands inside HTML: no prologue, size, font or colour of its own, and ids like no other's."""
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
    """An empty drawing of so many pixels, whose files depend on nothing but what is drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "polymodal", "font.family": "DejaVu Sans"}):
        yield Figure(figsize=(width / 72, height / 72))


def look(style: int) -> tuple[str, str]:
    """A style's colour and its mark."""
    return ("#8a8a8a", ".") if style == OTHER else (COLORS[style % STYLES], MARKERS[style % STYLES])


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
