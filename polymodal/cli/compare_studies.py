"""Studies for the command line: planned, run, and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.console import texts
from polymodal.runtime.formatting import brief
from polymodal.studies import compare, plan, study_run

if TYPE_CHECKING:
    from rich.table import Table

    from polymodal.studies import Comparison

__all__ = ["planned", "run", "told"]


def run(study: str, folder: Path, beside: Path | None, device: str | None, **where: Any) -> Comparison:
    """Runs a study, see `polymodal.studies.compare`.

    Arguments:
        study: A preset's name, or a YAML file.
        folder: Of all studies.
        beside: A CSV file of scores to show beside.
        device: Of all runs, in place of the study's; None leaves it.
        **where: Where runs run, as `compare` takes it.
    """
    from polymodal.comparison.ranking import read

    others = None if beside is None else read(beside)
    return compare(_on(study, device), folder=folder, beside=others, **where)


def planned(study: str, folder: Path, device: str | None) -> Table:
    """What a study would run, a line for each model on each data set, and how much of it is finished."""
    from rich.table import Table

    made = plan(_on(study, device))
    runs, done, settings = Counter(), Counter(), {}
    for cell in made.cells():
        who = cell.dataset, cell.model
        settings.setdefault(who, {})[cell.setting] = None
        tuning = cell.seed in made.tuned_on
        asked = ((), None) if tuning else (made.tasks, made.inception)
        done[who] += study_run.finished(folder / "runs" / cell.name, *asked)
        # Where some seeds choose a setting, each of the others runs one alone.
        runs[who] += tuning or not made.tuned_on or cell.setting == next(iter(settings[who]))
    table = Table("data set", "model", "settings", "runs", "finished", box=None, pad_edge=False)
    for (dataset, model), count in runs.items():
        varied = "; ".join(filter(None, settings[dataset, model]))
        table.add_row(*texts(dataset, model, varied, count, done[dataset, model]))
    return table


def told(made: Comparison) -> str:
    """What came of a study, in a few lines."""
    lines = [f"{brief(run)} failed: {brief(reason)}" for run, reason in made.failures.items()]
    lines.append(f"Page: {made.page.resolve()}" if made.page else "There is no page, for no run is finished.")
    return "\n".join(lines)


def _on(study: str, device: str | None) -> Mapping[str, Any] | str:
    """The study, on a device."""
    if device is None:
        return study
    made = plan(study)
    return {**vars(made), "settings": {**(made.settings or {}), "fit.device": device}}
