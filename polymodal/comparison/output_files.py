"""Output files of a comparison: tables as CSV, figures as PDF and PNG."""

from __future__ import annotations

import base64
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polymodal.comparison import charts
from polymodal.comparison.score_tables import Sheet
from polymodal.io import checkpoint

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Chart", "Folder", "Section"]

INCH = 98
"""Pixels on the page per inch of a figure."""


class Chart(NamedTuple):
    """Figure on the page."""

    name: str
    uri: str
    width: int
    height: int
    alt: str
    file: str


class Section(NamedTuple):
    """Section of the page."""

    id: str
    name: str
    about: str
    charts: Sequence[Chart] = ()
    sheets: Sequence[Sheet] = ()
    files: Sequence[str] = ()


class Folder:
    """Writer for the files of a comparison; each file is written under a temporary name first, then renamed.

    Arguments:
        path: Output folder; it may exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_table(self, name: str, frame: pd.DataFrame | None) -> str:
        """Writes a table, unless it is None, and returns its name."""
        if frame is not None:
            text = frame.to_csv(index=False, lineterminator="\n")
            if "\r" in text:  # readers treat it as a line break, and pandas does not quote it by default
                text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            checkpoint.write_text(self.path / name, text)
        return name

    def write_chart(self, name: str, figure: Figure, alt: str, title: str = "") -> Chart:
        """Writes a figure and returns it for the page."""
        png = charts.save_figure(figure, self.path / "figures" / name)
        width, height = figure.get_size_inches() * INCH
        uri = "data:image/png;base64," + base64.b64encode(png).decode()
        return Chart(title, uri, round(width), round(height), alt, f"figures/{name}.pdf")
