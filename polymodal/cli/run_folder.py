"""Reading and writing of a run folder: model, data, history, scores and report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from polymodal import evaluation, models
from polymodal.cli.processes import count, number
from polymodal.cli.run_data import (
    RECORD,
    SPLITS,
    check_data,
    choose_split,
    experiment,
    holds_model_only,
    no_run,
    open_table,
    open_tables,
)
from polymodal.comparison.scores import find_task_position
from polymodal.evaluation import LEARNED, TASKS, check_tasks, score_file
from polymodal.evaluation.coherence.unconditional import is_rgb_or_grey
from polymodal.evaluation.score_file import SCORED, read_scores
from polymodal.io import checkpoint
from polymodal.io.json_files import refuse_endless
from polymodal.report import write
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import say
from polymodal.training import connect_processes, select_device

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = [
    "RECORD",
    "SPLITS",
    "count_epochs",
    "evaluate_run",
    "experiment",
    "find_outdated_tasks",
    "name_score_file",
    "no_run",
    "open_model",
    "open_table",
    "open_tables",
    "refuse_unwritable",
    "rewrite_report",
    "write_report",
    "write_scores",
]

PROBE = 2**14
"""Number of bytes written to test a folder before a long computation."""
HISTORY, SCORES = ["epoch"], [*SCORED]
PRIOR_HISTORY = ["epoch", "seconds", "prior/train", "prior/validation"]
"""Required columns of the files that a report is based on: history, scores, and history of the flow prior."""


def open_model(folder: Path, device: str = "auto") -> Model:
    """Loads the model of a run, or a model without its run, onto a device.

    Raises:
        FileNotFoundError: The folder holds neither a run nor a model.
    """
    alone = holds_model_only(folder)
    if not alone:
        experiment(folder)
    where = select_device(device)
    return models.load(folder if alone else folder / "model").to(where)


def evaluate_run(
    folder: Path,
    *,
    split: str | None = None,
    tasks: Iterable[str] = TASKS,
    inception: Path | None = None,
    device: str = "auto",
    batch_size: int = 256,
    on_changed: str = "error",
) -> tuple[Path, pd.DataFrame, Schema]:
    """Evaluates the model of a run on a split, and adds the scores to the score file in the run folder.

    Earlier scores of the same tasks are replaced, and scores of other tasks are kept. The scores of a table's columns
    have baselines, see `polymodal.evaluation.add_baselines`.

    Arguments:
        folder: Run folder.
        split: Split to evaluate on; by default as in `choose_split`.
        tasks: Evaluation tasks. Classifiers and probes for them are trained on the training rows.
        inception: File with the weights of Inception-v3 for the FID in "generation", see
            `polymodal.evaluation.load_inception`.
        device: Device of the model.
        batch_size: Number of rows per batch.
        on_changed: Behaviour if the table's file has changed since training: "error" raises an error, "warn" reads the
            table with the model's schema and adds this to the column `note` of the scores.

    Returns:
        The score file (`scores.csv` for the test split, `scores-<split>.csv` for another one), the scores, and the
        schema of the model.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: A name is unknown, `inception` holds other weights or is given without the task "generation", or the
            schema has no images for it.
    """
    tasks = check_tasks(tasks)
    if inception is not None and "generation" not in tasks:
        raise ValueError(
            f"inception is for the task generation, and the tasks are {', '.join(tasks)}; add generation to them"
        )
    if count() > 1:
        connect_processes(device)
    features = None if inception is None else evaluation.load_inception(inception, select_device(device))
    split = choose_split(folder) if split is None else split
    path = name_score_file(folder, split)
    earlier = find_outdated_tasks(path)
    learns = {*tasks} & {*LEARNED, "sampling"}  # sampling trains a classifier if the rows have classes
    model = open_model(folder, device)
    table, train = open_tables(folder, split, "train", on_changed=on_changed, schema=model.schema)
    if features is not None and not any(map(is_rgb_or_grey, model.schema.values())):
        raise ValueError(
            f"inception is for images, in colour or grey, and the model of {folder} has none; leave it out"
        )
    options: dict[str, Any] = {"features": features, "batch_size": batch_size}
    scores = evaluation.evaluate(model, table, tasks=tasks, progress=True, train=train if learns else None, **options)
    scores = scores if number() else evaluation.add_baselines(scores, train, table)
    if (change := table.source.get("changed")) is not None:
        scores["note"] = [f"{note}; {change}" if note else change for note in scores["note"]]
    write_scores(path, scores, tasks)
    if older := sorted(earlier - {*scores["task"], *tasks}, key=find_task_position):
        say(
            f"{path} keeps scores of {', '.join(older)} from before the model was trained further; evaluate "
            "these tasks again"
        )
    return path, scores, model.schema


def rewrite_report(folder: Path, device: str = "auto", on_changed: str = "error") -> Path:
    """Writes the report of a run again, from the files of the run and a split of its data set, see `choose_split`.

    If the run has no scores, the model is evaluated first.

    Arguments:
        folder: Run folder.
        device: Device of the model.
        on_changed: Behaviour if the table's file has changed since training, as in `evaluate_run`.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: The folder holds no run, or the run has no history.
        ValueError: The data set cannot be loaded by name, or a file of the run is damaged.
    """
    check_data(folder, experiment(folder)["data"])
    _columns(folder / "history.csv", HISTORY)
    split = choose_split(folder)
    path = name_score_file(folder, split)
    if scored := os.path.lexists(path):
        _columns(path, SCORES)
    model = open_model(folder, device)
    table, train = open_tables(folder, split, "train", on_changed=on_changed, schema=model.schema)
    if not scored:
        scores = evaluation.evaluate(model, table, progress=True)
        write_scores(path, evaluation.add_baselines(scores, train, table))
    return write_report(folder, model, table, train)


def write_scores(path: Path, scores: pd.DataFrame, tasks: Iterable[str] = ()) -> Path:
    """Adds the scores that `polymodal.evaluate` returned for these tasks to a score file, in the main process."""
    return path if number() else score_file.write_scores(path, scores, tasks)


def write_report(folder: Path, model: Model, table: Table, train: Table | None = None) -> Path:
    """Writes `report.html` into a run folder, from the scores of the split of the table.

    With training rows, baselines are added to scores that have none, such as those of earlier versions.
    """
    flow = folder / "prior_history.csv"
    path = name_score_file(folder, table.source.get("split", "test"))
    na_values = {column: [""] for column in ("value", *evaluation.BASELINES)}
    scores = _columns(path, SCORES, keep_default_na=False, na_values=na_values)
    if train is not None and not {*evaluation.BASELINES} <= {*scores}:
        scores = evaluation.add_baselines(scores, train, table)
    return write(
        folder / "report.html",
        model,
        table,
        history=_columns(folder / "history.csv", HISTORY),
        prior_history=_columns(flow, PRIOR_HISTORY) if model.flow is not None and flow.exists() else None,
        scores=scores,
        settings=experiment(folder),
    )


def name_score_file(folder: Path, split: str) -> Path:
    """Returns the path of the score file of a split."""
    return folder / ("scores.csv" if split == "test" else f"scores-{split}.csv")


def find_outdated_tasks(path: Path) -> set[str]:
    """Returns the tasks of a score file that is older than the weights of the model in the run folder.

    Raises:
        ValueError: The file is not a score file.
    """
    if not os.path.lexists(path):
        return set()
    scores, weights = read_scores(path), path.parent / "model" / "weights.safetensors"
    old = weights.exists() and path.stat().st_mtime_ns < weights.stat().st_mtime_ns
    return {*scores["task"]} if old else set()


def refuse_unwritable(folder: Path, option: str) -> None:
    """Checks that a folder can be created and written; folders that did not exist are removed afterwards.

    Raises:
        OSError: The folder cannot be created or written; the message names the reason and the option to change.
    """
    missing = []
    try:
        missing += [path for path in (folder, *folder.parents) if not path.exists()]
        checkpoint.check_writable(folder)
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE))
            probe.flush()
    except OSError as error:
        raise OSError(
            f"{folder} must be a writable folder: {error.strerror or error}; free disk space, change the permissions, "
            f"or choose another {option}"
        ) from error
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def count_epochs(folder: Path) -> int:
    """Returns the number of epochs in the history of a run.

    Raises:
        ValueError: The history is damaged.
    """
    history = folder / "history.csv"
    return len(_columns(history, HISTORY)) if history.exists() else 0


def _columns(path: Path, names: list[str], **options: Any) -> pd.DataFrame:
    """Reads a CSV file of a run, and checks that it has these columns."""
    import pandas as pd

    try:
        refuse_endless(path)
        frame = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} must exist, because the report shows it, and it does not; train the run, or restore the file"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} must be a CSV file that polymodal wrote: {brief(error)}; restore or remove it"
        ) from error
    if missing := [name for name in names if name not in frame]:
        raise ValueError(f"{path} must have the columns {', '.join(names)}; missing: {', '.join(missing)}; restore it")
    return frame
