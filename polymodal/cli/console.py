"""Tables for the terminal: scores, predictions and comparisons."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from polymodal.runtime.formatting import printable

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.cli.output_folder import Answers
    from polymodal.schema import Schema

__all__ = ["answers", "comparison", "scores", "show", "texts"]

FIRST, WIDEST = 8, 60
"""Maximum numbers of printed rows and of characters per cell."""
ARROWS = {"higher": "↑", "lower": "↓"}
DASH = "\N{EN DASH}"


def show(told: RenderableType) -> None:
    """Prints a table or another object that rich can render."""
    Console().print(told)


def scores(frame: pd.DataFrame, schema: Schema) -> Group:
    """Returns tables of scores.

    The first table has one row per modality and metric and one column per task. Scores of further tasks follow in a
    second table with one row per score.

    Arguments:
        frame: Scores, as returned by `polymodal.evaluate`.
        schema: Schema that determines the order of the modalities.
    """
    from polymodal.evaluation import TASKS

    first = frame["task"].isin(TASKS)
    parts = [_by_task(frame[first], schema)] if first.any() else []
    return Group(*parts, *([_further(frame[~first])] if not first.all() else []))


def _by_task(frame: pd.DataFrame, schema: Schema) -> Table:
    from polymodal.report.score_summary import prepare_scores

    seen = prepare_scores(frame, schema)
    table = _table("modality", "metric", *seen.tasks, right=len(seen.tasks))
    for block in seen.blocks:
        metric = f"{block.metric} {ARROWS[block.better]}"
        for row in block.rows + ([block.mean] if block.mean else []):
            notes = "".join(f" [{note}]" for note in row.notes)
            table.add_row(*texts(row.name + notes, metric, *(score.text for score in row.scores)))
        table.add_section()
    return table


def _further(frame: pd.DataFrame) -> Table:
    table = _table("task", "modality", "given", "metric", "score", right=1)
    for task, rows in frame.groupby("task", sort=False):
        for row in rows.to_dict("records"):
            metric, value = f"{row['metric']} {ARROWS[row['better']]}", row["value"]
            told = f"{value:.4g}" if value == value else DASH
            table.add_row(*texts(task, row["modality"], row["given"], metric, told))
        table.add_section()
    return table


def answers(made: Answers) -> Table | None:
    """Returns a table of the predictions or samples of the first rows, and the true values.

    Returns None if all predicted modalities are images.
    """
    from polymodal.cli.output_folder import columns

    shown = columns(made)
    if len(shown) == 1 + (made.draws > 1):
        return None
    table = _table(*(head for head, _ in shown))
    for row in zip(*(values[:FIRST] for _, values in shown), strict=True):
        table.add_row(*texts(*("" if value is None else shorten(str(value), WIDEST) for value in row)))
    return table


def comparison(folder: Path) -> Table:
    """Returns a table with the number of outcomes in which each model is best and its mean rank in each task.

    Arguments:
        folder: Folder of the comparison.
    """
    from polymodal.cli.compare_scores import standings
    from polymodal.comparison.display_names import format_model_name, format_task_name

    lines, tasks = standings(folder)
    table = _table("model", "best in", *map(format_task_name, tasks), right=1 + len(tasks))
    for model, best, *means in lines.to_numpy(object):
        table.add_row(
            *texts(format_model_name(model), best, *(f"{mean:.3f}" if mean == mean else DASH for mean in means))
        )
    return table


def texts(*cells: object) -> list[Text]:
    """Converts cells to text without markup, with characters that cannot be printed as escapes."""
    return [Text(printable(cell)) for cell in cells]


def _table(*heads: str, right: int = 0) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(texts(*heads)):
        table.add_column(head, justify="right" if place >= len(heads) - right else "left", overflow="fold")
    return table
