"""Contact sheet: one image with the given values, the predictions or samples, and the true values of rows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from functools import cache, partial
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import PIL.Image
from PIL import ImageDraw, ImageFont

from polymodal.cli.predictions import Predictions, is_drawn_as_image
from polymodal.runtime.formatting import printable

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.modalities import Modality

__all__ = ["draw_contact_sheet"]

MOST_ROWS, MOST_NAMES, MOST_SAMPLES = 24, 12, 6
"""Maximum numbers of rows, modalities, and samples per row on the sheet; the other output files have all of them."""
LARGEST, SMALLEST, WIDTH = 96, 48, 1500
"""Maximum and minimum nominal side of an image, and approximate width of the images in a row, in pixels."""
ELONGATED, WRITING = 2, 132
"""Maximum ratio of the longer side of an image to its nominal side, and the width of a text in pixels."""
GAP, APART, HEAD, MARGIN = 10, 30, 46, 20
"""In pixels: gap between cells, gap between groups of columns, height of the headings, and outer margin."""
LETTERS = 100
PAPER, INK, QUIET = "#ffffff", "#1a1c20", "#6b7078"
SAMPLED = "#2c5aca"
ROLES = {"given": "#6b7078", "truth": "#1a1c20"}
RIGHT, WRONG = "#2e7d32", "#c62828"


class Cell(NamedTuple):
    """A value as it is drawn: an image or a text."""

    image: PIL.Image.Image | None = None
    text: str = ""
    color: str = INK


class Column(NamedTuple):
    """Cells under a heading of two lines; columns of one group are next to each other."""

    role: str
    name: str
    group: str
    cells: list[Cell]

    @property
    def width(self) -> int:
        """Returns the width in pixels."""
        images = [cell.image.width for cell in self.cells if cell.image is not None]
        texts = [_width(line, 14) for cell in self.cells for line in _lines(cell.text)]
        return max([*images, *texts, _width(printable(self.name), 14, bold=True), _width(self.role, 12)])


def draw_contact_sheet(predictions: Predictions) -> PIL.Image.Image:
    """Draws predictions or samples as rows under headings.

    The sheet shows at most the first 24 rows, 12 modalities and 6 samples per row.
    """
    columns = list(_columns(predictions))
    rows = predictions.rows[:MOST_ROWS]
    heights = [max(_height(column.cells[place]) for column in columns) for place in range(len(rows))]
    names = [f"row {row}" if predictions.truth is not None else str(row) for row in rows]
    left = MARGIN + max(_width(name, 12) for name in names) + 2 * GAP
    lefts = _lefts(columns, left)
    size = lefts[-1] + columns[-1].width + MARGIN, MARGIN + HEAD + sum(heights) + GAP * len(heights) + MARGIN
    page = PIL.Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    for column, x in zip(columns, lefts, strict=True):
        draw.text((x, MARGIN), column.role, ROLES.get(column.role, SAMPLED), _font(12))
        draw.text((x, MARGIN + 16), printable(column.name), INK, _font(14, bold=True))
    y = MARGIN + HEAD
    for place, (name, height) in enumerate(zip(names, heights, strict=True)):
        draw.text((MARGIN, y + height / 2), name, QUIET, _font(12), anchor="lm")
        for column, x in zip(columns, lefts, strict=True):
            _draw(page, draw, column.cells[place], x, y, height)
        y += height + GAP
    return page


def _columns(predictions: Predictions) -> Iterator[Column]:
    count = min(len(predictions.rows), MOST_ROWS)
    seen = {} if predictions.given is None else dict(zip(predictions.schema, predictions.given.T.tolist(), strict=True))
    given = [name for name, rows in seen.items() if any(rows)][:MOST_NAMES]
    names, shown = list(predictions.values)[:MOST_NAMES], min(predictions.samples, MOST_SAMPLES)
    cell = partial(_cell, side=_side(predictions, given, names, shown))
    for name in given:
        values = [predictions.true_value(name, place) if seen[name][place] else None for place in range(count)]
        yield Column("given", name, "given", [cell(predictions.schema[name], value) for value in values])
    for name in names:
        modality, truth = predictions.schema[name], [predictions.true_value(name, place) for place in range(count)]
        true = [cell(modality, value) for value in truth]
        group = "samples" if predictions.truth is None else name
        for number, values in enumerate(predictions.values[name][:shown], start=1):
            cells = [cell(modality, value) for value in values[:count]]
            role = "sample" if predictions.truth is None else "prediction"
            if predictions.samples > 1:  # small images are narrower than the word, so only the first sample has it
                role = f"sample {number}" if number == 1 else str(number)
            yield Column(
                role, name, group, [_mark_correctness(modality, *pair) for pair in zip(cells, true, strict=True)]
            )
        if predictions.truth is not None:
            yield Column("truth", name, group, true)


def _side(predictions: Predictions, given: list[str], names: list[str], shown: int) -> int:
    """Returns the side of an image with which a row fits the page width, within the minimum and maximum side."""
    images = [*given, *names * (shown + (predictions.truth is not None))]
    across = sum(is_drawn_as_image(predictions.schema[name]) for name in images)
    return max(SMALLEST, min(LARGEST, WIDTH // max(1, across) - GAP))


def _cell(modality: Modality, value: Tensor | None, side: int) -> Cell:
    if value is None:
        return Cell(text="\N{EN DASH}", color=QUIET)
    seen = modality.draw(value.cpu())
    if isinstance(seen, PIL.Image.Image):
        return Cell(_scale_image(seen.convert("RGB"), side))
    text = printable(" ".join(str(seen).split()))
    return Cell(text=textwrap.shorten(text, LETTERS, placeholder=" ...") or "(empty)")


def _mark_correctness(modality: Modality, made: Cell, true: Cell) -> Cell:
    """Marks a class as right or wrong if the true class is known."""
    if modality.levels is None or modality.shape or true.color == QUIET:
        return made
    right = made.text == true.text
    return Cell(text=f"{made.text} {'✓' if right else '✗'}", color=RIGHT if right else WRONG)


def _scale_image(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    """Scales an image to about `side` pixels a side: small ones by an integer factor, large ones to fewer pixels."""
    scale = min(side / sqrt(image.width * image.height), ELONGATED * side / max(image.size))
    scale = max(1, round(scale)) if scale > 0.75 else scale
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, PIL.Image.Resampling.NEAREST if scale >= 1 else PIL.Image.Resampling.LANCZOS)


def _draw(page: PIL.Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int, height: int) -> None:
    if cell.image is not None:
        page.paste(cell.image, (x, y + (height - cell.image.height) // 2))
    else:
        lines = "\n".join(_lines(cell.text))
        draw.multiline_text((x, y + height / 2), lines, cell.color, _font(14), anchor="lm", spacing=3)


def _lefts(columns: list[Column], x: int) -> list[int]:
    """Returns the left edge of each column in pixels."""
    lefts = []
    for place, column in enumerate(columns):
        if place:
            x += APART if columns[place - 1].group != column.group else GAP
        lefts.append(x)
        x += column.width
    return lefts


def _height(cell: Cell) -> int:
    return cell.image.height if cell.image is not None else 20 * len(_lines(cell.text))


@cache
def _lines(text: str) -> list[str]:
    """Wraps a text into lines that fit the width of a text cell."""
    return textwrap.wrap(text, max(8, WRITING // 8)) or [""]


def _width(text: str, size: int, *, bold: bool = False) -> int:
    return round(_font(size, bold=bold).getlength(text)) + 1


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Loads the DejaVu Sans font that matplotlib ships."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", size)
