"""Comparison of models from a table of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli import output_checks
from polymodal.cli.run_folder import refuse_unwritable
from polymodal.comparison import comparison_page
from polymodal.comparison.display_names import format_task_name
from polymodal.comparison.scores import drop_models, is_further_task, read_score_table, select_shared_outcomes
from polymodal.evaluation import TASKS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_score_file", "read_standings"]


def compare_score_file(path: Path, out: Path, without: Sequence[str] = (), *, overwrite: bool = False) -> Path:
    """Ranks the models of a CSV file of scores, and writes the comparison page, its tables and its figures.

    Arguments:
        path: CSV file of scores, see `polymodal.comparison.scores.read_score_table`.
        out: Output folder; files with other names in it are kept.
        without: Models to leave out.
        overwrite: Whether to replace an earlier comparison.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The folder cannot be written.
        ValueError: The scores cannot be compared, a model to leave out does not exist, the folder holds an earlier
            comparison and `overwrite` is not set, or the folder holds another file with the name of an output file.
    """
    every = read_score_table(path)
    scores = drop_models(every, without)
    if select_shared_outcomes(scores[~is_further_task(scores)]).empty:
        raise ValueError(
            f"{path} must have an outcome for which at least two models have a score, in {', '.join(TASKS)} or another "
            "ranked task; there is none"
        )
    _check(out, path, scores, overwrite=overwrite)
    left_out = [str(model) for model in every["model"].unique() if model not in set(scores["model"])]
    notes = [f"The scores are those of {path.name}."]
    notes += [f"Left out: {', '.join(left_out)}."] if left_out else []
    return comparison_page.write(out, scores, title=f"{scores['model'].nunique()} models compared", notes=notes)


def _check(out: Path, source: Path, scores: pd.DataFrame, *, overwrite: bool) -> None:
    """Checks that a comparison would replace neither the scores nor any files but those of an earlier comparison."""
    names = [*comparison_page.FILES, *(f"{format_task_name(str(task))}.csv" for task in scores["task"].unique())]
    for name in names:
        output_checks.refuse_sources(out / name, [source])
    if (out / comparison_page.PAGE).exists():
        output_checks.refuse_existing(out, overwrite=overwrite)
    elif there := [name for name in names if (out / name).exists()]:
        raise ValueError(
            f"{out} must not hold {there[0]}, which is not a file of an earlier comparison; choose another --out"
        )
    refuse_unwritable(out, "--out")


def read_standings(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Returns a summary of a comparison with one row per model, the best model first.

    Arguments:
        folder: Folder that `polymodal.comparison.comparison_page.write` has written.

    Returns:
        A frame with the columns `model`, `best` (number of outcomes in which the model is best) and the mean rank in
        each task; and the names of the tasks.
    """
    import pandas as pd

    read = {"keep_default_na": False, "na_values": {"mean": [""], "standard_error": [""]}, "dtype": {"model": str}}
    best, ranks = (pd.read_csv(folder / name, **read) for name in ("best.csv", "ranks.csv"))
    wide = ranks.pivot(index="model", columns="task", values="mean")[list(ranks["task"].unique())]
    table = best.rename(columns={"outcomes": "best"}).merge(wide.reset_index(), on="model", how="left")
    return table, list(wide.columns)
