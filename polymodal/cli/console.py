"""Tables for the terminal: scores, predictions and comparisons."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from polymodal.cli.terminal import tell
from polymodal.runtime.formatting import printable

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.cli.predictions import Predictions
    from polymodal.schema import Schema

__all__ = [
    "escape_cells",
    "show",
    "show_predictions",
    "show_written_rows",
    "tabulate_comparison",
    "tabulate_predictions",
    "tabulate_scores",
]

FIRST, WIDEST = 8, 60
"""Maximum numbers of printed rows and of characters per cell."""
ARROWS = {"higher": "↑", "lower": "↓"}
DASH = "\N{EN DASH}"


def show(content: RenderableType) -> None:
    """Prints a table or another object that rich can render."""
    Console().print(content)


def show_predictions(folder: Path, predictions: Predictions) -> None:
    """Prints the predictions or samples of the first rows, and the paths of the output folder and its contact sheet."""
    if (table := tabulate_predictions(predictions)) is not None:
        show(table)
    tell(f"Files: {printable(folder)}")
    tell(f"Contact sheet: {printable(folder / 'grid.png')}")


def show_written_rows(what: str, counts: tuple[int, int], out: Path) -> None:
    """Prints the number of rows of an output file, and the number of rows that were left out of it.

    Arguments:
        what: Beginning of the line, such as "Codes of".
        counts: Number of written rows, and number of rows that were left out.
        out: Output file.
    """
    written, left_out = counts
    without = f"; {left_out:,} left out, in which no given modality is observed" if left_out else ""
    tell(f"{what} {written:,} row{'s' * (written != 1)}: {printable(out)}{without}")


def tabulate_scores(frame: pd.DataFrame, schema: Schema) -> Group:
    """Returns tables of scores.

    The first table has one row per modality and metric and one column per task. If the scores have baselines, the
    columns given all others are next to these in a second table. Scores of further tasks follow in a last table with
    one row per score.

    Arguments:
        frame: Scores, as returned by `polymodal.evaluate`.
        schema: Schema that determines the order of the modalities.
    """
    from polymodal.evaluation import TASKS

    first = frame["task"].isin(TASKS)
    parts: list[RenderableType] = [_tabulate_by_task(frame[first], schema)] if first.any() else []
    parts += _tabulate_baselines(frame)
    return Group(*parts, *([_tabulate_further_tasks(frame[~first])] if not first.all() else []))


def _tabulate_by_task(frame: pd.DataFrame, schema: Schema) -> Table:
    from polymodal.report.score_summary import prepare_scores

    seen = prepare_scores(frame, schema)
    table = _table("modality", "metric", *seen.tasks, right=len(seen.tasks))
    for block in seen.blocks:
        metric = f"{block.metric} {ARROWS[block.better]}"
        for row in block.rows + ([block.mean] if block.mean else []):
            notes = "".join(f" [{note}]" for note in row.notes)
            table.add_row(*escape_cells(row.name + notes, metric, *(score.text for score in row.scores)))
        table.add_section()
    return table


def _tabulate_baselines(frame: pd.DataFrame) -> list[RenderableType]:
    """Returns a table of the columns given all others, next to their baselines, and its caption; nothing without."""
    from polymodal.evaluation.column_baselines import BASELINES, find_best

    if not {*BASELINES} <= {*frame} or (rows := frame.dropna(subset=BASELINES[0])).empty:
        return []
    table = _table("given all others", "metric", "model", *(name.replace("_", " ") for name in BASELINES), right=3)
    for metric, own in rows.groupby("metric", sort=False):
        decimals = 1 if metric == "acc" else 3
        for name, better, *values in own[["modality", "better", "value", *BASELINES]].to_numpy(object):
            best = find_best(values, better)
            cells = [f"{value:.{decimals}f}" if value == value else DASH for value in values]
            texts = [Text(f"{cell} *", "bold") if at in best else Text(f"{cell}  ") for at, cell in enumerate(cells)]
            table.add_row(*escape_cells(name, f"{metric} {ARROWS[better]}"), *texts)
        table.add_section()
    return [table, Text(" * best of the three; ridge or logistic: linear model of the other columns\n")]


def _tabulate_further_tasks(frame: pd.DataFrame) -> Table:
    table = _table("task", "modality", "given", "metric", "score", right=1)
    for task, rows in frame.groupby("task", sort=False):
        for row in rows.to_dict("records"):
            metric, value = f"{row['metric']} {ARROWS[row['better']]}", row["value"]
            score = f"{value:.4g}" if value == value else DASH
            table.add_row(*escape_cells(task, row["modality"], row["given"], metric, score))
        table.add_section()
    return table


def tabulate_predictions(predictions: Predictions) -> Table | None:
    """Returns a table of the predictions or samples of the first rows, and the true values.

    Returns None if all predicted modalities are images.
    """
    from polymodal.cli.predictions import tabulate_values

    shown = tabulate_values(predictions)
    if len(shown) == 1 + (predictions.samples > 1):
        return None
    table = _table(*(head for head, _ in shown))
    for row in zip(*(values[:FIRST] for _, values in shown), strict=True):
        table.add_row(*escape_cells(*("" if value is None else shorten(str(value), WIDEST) for value in row)))
    return table


def tabulate_comparison(folder: Path) -> Table:
    """Returns a table with the number of outcomes in which each model is best and its mean rank in each task.

    Arguments:
        folder: Folder of the comparison.
    """
    from polymodal.cli.compare_scores import read_standings
    from polymodal.comparison.display_names import format_model_name, format_task_name

    lines, tasks = read_standings(folder)
    table = _table("model", "best in", *map(format_task_name, tasks), right=1 + len(tasks))
    for model, best, *means in lines.to_numpy(object):
        table.add_row(
            *escape_cells(format_model_name(model), best, *(f"{mean:.3f}" if mean == mean else DASH for mean in means))
        )
    return table


def escape_cells(*cells: object) -> list[Text]:
    """Converts cells to text without markup, with characters that cannot be printed as escapes."""
    return [Text(printable(cell)) for cell in cells]


def _table(*heads: str, right: int = 0) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(escape_cells(*heads)):
        table.add_column(head, justify="right" if place >= len(heads) - right else "left", overflow="fold")
    return table
