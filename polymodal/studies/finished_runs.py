"""Finished runs of a study, read from their run folders or from the study's file of scores.

The file of scores is `<folder>/<name of the study>/scores.csv`. For each finished run, it has one line with the record
of the run and one line per score. The record is the content of the run's `experiment.json` as JSON: its settings, data
and training costs. A run is identified by the name of its run folder, which contains a hash of its settings. A study
can therefore be continued from this file alone, without the run folders.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.evaluation.score_file import SCORED, read_scores
from polymodal.io import checkpoint
from polymodal.studies import study_run

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.studies.grid import Cell

__all__ = ["FinishedRuns"]

FILE = "scores.csv"
RUN_COLUMNS = ("run", "dataset", "model", "setting", "seed", "reported")
"""Columns that identify the run of a line, and "yes" in `reported` if the study's page uses the score of the line."""
RECORD = "record"
"""Column with the record of a run; empty in lines with a score."""


class FinishedRun(NamedTuple):
    """A finished run: its record and its scores."""

    record: dict[str, Any]
    """Content of the run's `experiment.json`."""
    scores: pd.DataFrame
    """Scores on all tasks as strings, with the columns of `evaluate`."""

    @property
    def training(self) -> dict[str, Any]:
        """Training and scoring entries of the record."""
        return self.record[study_run.RUN]

    def select_scores(self, tasks: Collection[str]) -> pd.DataFrame:
        """Returns the scores on some tasks, with exact float values; calibration belongs to coherence."""
        import pandas as pd

        own = self.scores[self.scores["task"].isin(_add_calibration(tasks))]
        own = own.assign(value=[float(text or "nan") for text in own["value"]])
        return own.assign(rows=pd.to_numeric(own["rows"])) if "rows" in own else own


class FinishedRuns:
    """The finished runs of a study.

    A run is read from its run folder, or from the study's file of scores if the folder does not exist or has scores on
    fewer tasks.

    Arguments:
        root: Folder of all studies.
        study: Name of the study.

    Raises:
        ValueError: The study's file of scores is invalid.
    """

    def __init__(self, root: Path, study: str) -> None:
        self.folder, self.path = root / "runs", root / study / FILE
        self.lines = _read_lines(self.path) if self.path.exists() else None
        self.saved = {} if self.lines is None else _split_lines(self.lines, self.path)

    def has(self, name: str, tasks: Collection[str] = (), inception: str | None = None) -> bool:
        """Returns whether a run is trained and scored on all of these tasks; no weights are needed.

        Arguments:
            name: Name of the run folder.
            tasks: Tasks.
            inception: File of Inception weights, see `Study`.
        """
        if study_run.is_finished(self.folder / name, tasks, inception):
            return True
        saved = self.saved.get(name)
        return saved is not None and study_run.is_scored(saved.training, tasks, inception)

    def find(self, name: str, tasks: Collection[str] = ()) -> FinishedRun | None:
        """Returns a run that is trained and scored on all of these tasks; None if there is none.

        Arguments:
            name: Name of the run folder.
            tasks: Tasks.
        """
        runs = [self._read_folder(name)] if study_run.is_finished(self.folder / name, tasks) else []
        saved = self.saved.get(name)
        if saved is not None and study_run.is_scored(saved.training, tasks):
            runs.append(saved)
        return max(runs, key=lambda run: len(run.training.get("tasks", [])), default=None)

    def list_mapped_runs(self) -> set[str]:
        """Returns the names of the runs whose codes the study's `maps.csv` may show.

        These are the runs with the first seed among those that the earlier page was made of.
        """
        if self.lines is None:
            return set()
        reported = self.lines[self.lines["reported"] == "yes"]
        return {*reported.drop_duplicates(["dataset", "model"])["run"]}

    def write(self, cells: Iterable[Cell], reported: Collection[str], tasks: Collection[str]) -> Path | None:
        """Writes the study's file of scores.

        Runs of the earlier file that are not in the study are kept, because the file may be their only copy.

        Arguments:
            cells: All runs of the study, in their order.
            reported: Names of the runs that the study's page is made of.
            tasks: Tasks of the study.

        Returns:
            Path of the file; None if no run is finished.
        """
        import pandas as pd

        tables, names = [], set()
        for cell in cells:
            names.add(cell.name)
            if (run := self.find(cell.name, tasks) or self.find(cell.name)) is not None:
                tables.append(_tabulate(cell, run, tasks if cell.name in reported else ()))
        if self.lines is not None:
            tables.append(self.lines[~self.lines["run"].isin(names)].assign(reported=""))
        if not tables:
            return None
        frame = pd.concat(tables, ignore_index=True).fillna("")
        own = [name for name in frame if name not in (*RUN_COLUMNS, RECORD)]
        return checkpoint.write_text(self.path, _format_csv(frame[[*RUN_COLUMNS, *own, RECORD]]))

    def _read_folder(self, name: str) -> FinishedRun:
        import pandas as pd

        record, path = study_run.read_record(self.folder / name), self.folder / name / study_run.SCORES
        if path.exists():
            return FinishedRun(record, read_scores(path))
        trained = {key: value for key, value in record[study_run.RUN].items() if key not in ("tasks", "fid")}
        return FinishedRun({**record, study_run.RUN: trained}, pd.DataFrame(columns=[*SCORED], dtype=str))


def _add_calibration(tasks: Collection[str]) -> list[str]:
    return [*tasks, *(["calibration"] if "coherence" in tasks else [])]


def _tabulate(cell: Cell, run: FinishedRun, tasks: Collection[str]) -> pd.DataFrame:
    """Returns the lines of a run: its record, then its scores, of which those on `tasks` are marked as reported."""
    import pandas as pd

    record = json.dumps(run.record, separators=(",", ":"), allow_nan=False)
    scores = run.scores.assign(reported=run.scores["task"].isin(_add_calibration(tasks)).map({True: "yes", False: ""}))
    lines = pd.concat([pd.DataFrame([{RECORD: record, "reported": ""}]), scores], ignore_index=True)
    who = {"dataset": cell.dataset, "model": cell.model, "setting": cell.setting, "seed": str(cell.seed)}
    return lines.assign(run=cell.name, **who)


def _format_csv(frame: pd.DataFrame) -> str:
    text = frame.to_csv(index=False, lineterminator="\n")
    # A reader takes a carriage return for the end of a line, and pandas does not quote it by default.
    return frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL) if "\r" in text else text


def _read_lines(path: Path) -> pd.DataFrame:
    lines = read_scores(path)
    if missing := [name for name in (*RUN_COLUMNS, RECORD) if name not in lines]:
        raise ValueError(
            f"{path} must be the file of scores that a study writes; missing columns: {', '.join(missing)}; "
            "restore it, or move it elsewhere"
        )
    return lines


def _split_lines(lines: pd.DataFrame, path: Path) -> dict[str, FinishedRun]:
    """Returns the runs of a file of scores, by name.

    Raises:
        ValueError: A run does not have exactly one record, or its record is invalid.
    """
    runs = {}
    for name, own in lines.groupby("run", sort=False):
        if (record := _parse_record([text for text in own[RECORD] if text])) is None:
            raise ValueError(
                f"{path} must have one record of each run, as a study writes it, in JSON; that of {name} is missing or "
                "invalid; restore the file, or remove the lines of this run to train it again"
            )
        scores = own[own["task"] != ""].drop(columns=[*RUN_COLUMNS, RECORD])
        runs[str(name)] = FinishedRun(record, scores.reset_index(drop=True))
    return runs


def _parse_record(texts: list[str]) -> dict[str, Any] | None:
    """Returns the record of a run; None unless there is exactly one, with the entries that a study reads."""
    try:
        (text,) = texts
        record = json.loads(text)
        complete = isinstance(record[study_run.RUN], dict) and "rows" in record["data"]
    except (ValueError, TypeError, KeyError):
        return None
    return record if complete else None
