"""Tables to read in a terminal."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.interfaces.gallery import Answers
    from polymodal.schema import Schema

__all__ = ["answers", "scores", "show"]

FIRST, WIDEST = 8, 60
"""Rows and letters of a cell that are printed."""
ARROWS = {"higher": "↑", "lower": "↓"}


def show(told: RenderableType) -> None:
    """Prints a table, or what else rich can show."""
    Console().print(told)


def scores(frame: pd.DataFrame, schema: Schema) -> Table:
    """Scores, a row per modality and metric, a column per task.

    Arguments:
        frame: As `polymodal.evaluate` returns it.
        schema: Whose order the modalities are in.
    """
    from polymodal.report.scores import present

    seen = present(frame, schema)
    table = _table("modality", "metric", *seen.tasks, right=len(seen.tasks))
    for block in seen.blocks:
        metric = f"{block.metric} {ARROWS[block.better]}"
        for row in block.rows + ([block.mean] if block.mean else []):
            notes = "".join(f" [{note}]" for note in row.notes)
            table.add_row(Text(row.name + notes), metric, *(score.text for score in row.scores))
        table.add_section()
    return table


def answers(made: Answers) -> Table | None:
    """What a model made of the first rows, and the truth; None where all of it are pictures."""
    from polymodal.interfaces.gallery import columns

    shown = columns(made)
    if len(shown) == 1 + (made.draws > 1):
        return None
    table = _table(*(head for head, _ in shown))
    for row in zip(*(values[:FIRST] for _, values in shown), strict=True):
        table.add_row(*(Text("" if value is None else shorten(str(value), WIDEST)) for value in row))
    return table


def _table(*heads: str, right: int = 0) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place >= len(heads) - right else "left", overflow="fold")
    return table
