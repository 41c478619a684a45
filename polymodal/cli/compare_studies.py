"""Studies on the command line: planning, running and summarising them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.console import escape_cells
from polymodal.runtime.formatting import brief
from polymodal.studies import compare, plan
from polymodal.studies.finished_runs import FinishedRuns

if TYPE_CHECKING:
    from rich.table import Table

    from polymodal.studies import Comparison

__all__ = ["run_study", "summarise_study", "tabulate_planned_runs"]


def run_study(study: str, folder: Path, reference: Path | None, device: str | None, **where: Any) -> Comparison:
    """Runs a study, see `polymodal.studies.compare`.

    Arguments:
        study: Name of a preset, or path of a YAML file.
        folder: Folder of all studies.
        reference: CSV file of scores to compare with.
        device: Device of all runs; by default the device of the study.
        **where: Arguments of `compare` that determine where the runs are executed.
    """
    from polymodal.comparison.scores import read_score_table

    others = None if reference is None else read_score_table(reference)
    return compare(_replace_device(study, device), folder=folder, beside=others, **where)


def tabulate_planned_runs(study: str, folder: Path, device: str | None) -> Table:
    """Returns a table of the planned and the finished runs of a study, with one row per model and data set."""
    from rich.table import Table

    made = plan(_replace_device(study, device))
    finished = FinishedRuns(folder, made.name)
    runs, done, settings = Counter(), Counter(), {}
    for cell in made.cells():
        who = cell.dataset, cell.model
        settings.setdefault(who, {})[cell.setting] = None
        tuning = cell.seed in made.tuned_on
        asked = ((), None) if tuning else (made.tasks, made.inception)
        done[who] += finished.has(cell.name, *asked)
        # If some seeds are used for tuning, each other seed runs only the selected setting.
        runs[who] += tuning or not made.tuned_on or cell.setting == next(iter(settings[who]))
    table = Table("data set", "model", "settings", "runs", "finished", box=None, pad_edge=False)
    for (dataset, model), count in runs.items():
        varied = "; ".join(filter(None, settings[dataset, model]))
        table.add_row(*escape_cells(dataset, model, varied, count, done[dataset, model]))
    return table


def summarise_study(made: Comparison) -> str:
    """Returns a summary of a study: its failed runs and its page."""
    lines = [f"{brief(run)} failed: {brief(reason)}" for run, reason in made.failures.items()]
    lines.append(f"Page: {made.page.resolve()}" if made.page else "There is no page, because no run is finished.")
    return "\n".join(lines)


def _replace_device(study: str, device: str | None) -> Mapping[str, Any] | str:
    """Returns the study with its device replaced, if a device is given."""
    if device is None:
        return study
    made = plan(study)
    return {**vars(made), "settings": {**(made.settings or {}), "fit.device": device}}
