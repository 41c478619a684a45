"""The folder of a run: model, data, history, scores and report."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from polymodal import checkpoint
from polymodal.datasets import DATASETS
from polymodal.datasets import load as load_data
from polymodal.evaluation import LEARNED, TASKS, check_tasks
from polymodal.evaluation import evaluate as score
from polymodal.evaluation import inception as features_of
from polymodal.evaluation.generation import colours
from polymodal.evaluation.score_file import SCORED, read_scores
from polymodal.evaluation.score_file import write_scores as add_scores
from polymodal.evaluation.scores import place
from polymodal.interfaces.processes import count, number
from polymodal.models import load as load_model
from polymodal.names import brief, check_types, lookup, unknown
from polymodal.progress import say
from polymodal.report import write
from polymodal.training import chosen_device, join

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = [
    "SPLITS",
    "evaluate",
    "experiment",
    "no_run",
    "open_model",
    "open_table",
    "open_tables",
    "refuse_unwritable",
    "report",
    "write_report",
    "write_scores",
]

SPLITS = ("test", "validation", "train")
PROBE = 2**14
"""Bytes that a folder must have room for, before anything is made that takes long."""
RECORD = "experiment.json"
HISTORY, SCORES = ["epoch"], [*SCORED]
PRIOR_HISTORY = ["epoch", "seconds", "prior/train", "prior/validation"]
"""Columns without which there is no report."""


def open_model(folder: Path, device: str = "auto") -> Model:
    """A run's model, on the device.

    Raises:
        FileNotFoundError: The folder holds no run.
    """
    experiment(folder)
    where = chosen_device(device)
    return load_model(folder / "model").to(where)


def open_table(folder: Path, split: str = "test") -> Table:
    """A split of the data set that a run was on, made anew. Nothing is fetched, whatever the run's folder says.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: There is no such split, or the data set is not one that can be loaded by name.
    """
    return open_tables(folder, split)[0]


def open_tables(folder: Path, *splits: str) -> list[Table]:
    """Several splits of it, see `open_table`."""
    for split in splits:
        if split not in SPLITS:
            raise unknown(split, SPLITS, "split")
    source = experiment(folder)["data"]
    if "dataset" not in source:
        raise ValueError(
            f"{folder} must be a run on a data set that `polymodal datasets` lists; this one was on a table of one's "
            "own; ask its model from Python: polymodal.load(folder + '/model'), polymodal.evaluate, "
            "polymodal.report.write"
        )
    arguments = {name: value for name, value in source.get("arguments", {}).items() if name != "download"}
    try:
        check_types(arguments, lookup(DATASETS, source["dataset"], "data set"), source["dataset"])
        data = load_data(source["dataset"], **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / RECORD} must name a data set that can be loaded: {brief(error)}") from error
    return [getattr(data, split) for split in splits]


def evaluate(
    folder: Path,
    *,
    split: str = "test",
    tasks: Iterable[str] = TASKS,
    inception: Path | None = None,
    device: str = "auto",
    batch_size: int = 256,
) -> tuple[Path, pd.DataFrame, Schema]:
    """Scores a run's model on a split, and adds the scores to the file of them in its folder.

    Earlier scores of the same tasks are replaced, and those of other tasks stay.

    Arguments:
        folder: Of the run.
        split: Whose rows.
        tasks: What to score; what is learned for that is learned from the training rows.
        inception: Weights of Inception-v3, see `polymodal.evaluation.inception`, for the FID in "generation".
        device: Where.
        batch_size: Rows per pass.

    Returns:
        The file, `scores.csv` for the test split and `scores-<split>.csv` for another, the scores, and the modalities.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: A name is unknown, or `inception` holds other weights, or would look at nothing.
    """
    tasks = check_tasks(tasks)
    if inception is not None and "generation" not in tasks:
        raise ValueError(f"inception is for the task generation, and the tasks are {', '.join(tasks)}; ask for it too")
    if count() > 1:
        join(device)
    path = folder / ("scores.csv" if split == "test" else f"scores-{split}.csv")
    earlier = _scored_before(path)
    features = None if inception is None else features_of(inception, chosen_device(device))
    learns = {*tasks} & {*LEARNED, "sampling"}  # which judges classes by what it learns, where there are any
    table, train = open_tables(folder, split, "train") if learns else (open_table(folder, split), None)
    model = open_model(folder, device)
    if features is not None and not any(map(colours, model.schema.values())):
        raise ValueError(f"inception looks at pictures, in colours or grey, and {folder} has none; leave it out")
    options: dict[str, Any] = {"train": train, "features": features, "batch_size": batch_size}
    scores = score(model, table, tasks=tasks, progress=True, **options)
    write_scores(path, scores, tasks)
    if older := sorted(earlier - {*scores["task"], *tasks}, key=place):
        say(
            f"{path} keeps scores of {', '.join(older)} from before the model was trained further; evaluate these again"
        )
    return path, scores, model.schema


def report(folder: Path, device: str = "auto") -> Path:
    """Writes a run's report anew, from its files and the test split of its data set.

    Returns:
        The report's path.

    Raises:
        FileNotFoundError: The folder holds no run, or one without a history.
        ValueError: Its data set is not one that can be loaded by name, or a file of it is damaged.
    """
    experiment(folder)
    _columns(folder / "history.csv", HISTORY)
    if scored := (folder / "scores.csv").exists():
        _columns(folder / "scores.csv", SCORES)
    table, model = open_table(folder), open_model(folder, device)
    if not scored:
        write_scores(folder / "scores.csv", score(model, table, progress=True))
    return write_report(folder, model, table)


def write_scores(path: Path, scores: pd.DataFrame, tasks: Iterable[str] = ()) -> Path:
    """Adds what `polymodal.evaluate` returned of these tasks to a file of scores, in the main process."""
    return path if number() else add_scores(path, scores, tasks)


def write_report(folder: Path, model: Model, table: Table) -> Path:
    """Writes `report.html` into a run's folder."""
    flow = folder / "prior_history.csv"
    return write(
        folder / "report.html",
        model,
        table,
        history=_columns(folder / "history.csv", HISTORY),
        prior_history=_columns(flow, PRIOR_HISTORY) if model.flow is not None and flow.exists() else None,
        scores=_columns(folder / "scores.csv", SCORES, keep_default_na=False, na_values={"value": [""]}),
        settings=experiment(folder),
    )


def _scored_before(path: Path) -> set[str]:
    """The tasks of a file of scores that are of an earlier state of the model than the run's folder holds.

    Raises:
        ValueError: It is no file of scores.
    """
    if not path.exists():
        return set()
    scores, weights = read_scores(path), path.parent / "model" / "weights.safetensors"
    old = weights.exists() and path.stat().st_mtime_ns < weights.stat().st_mtime_ns
    return {*scores["task"]} if old else set()


def experiment(folder: Path) -> dict[str, Any]:
    """What a run's folder says of it; "data" holds a mapping.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The file is damaged or edited.
    """
    if not (folder / RECORD).exists():
        raise no_run(folder, RECORD)
    document = checkpoint.read_json(folder / RECORD)
    data = document["data"] if isinstance(document.setdefault("data", {}), dict) else {}
    expected = {"data": dict, "data.dataset": str, "data.arguments": dict}
    for name, held in {**document, **{f"data.{name}": held for name, held in data.items()}}.items():
        if name in expected and not isinstance(held, expected[name]):
            kind = "a name" if expected[name] is str else "values by name"
            raise ValueError(
                f"{folder / RECORD} must have {kind} as {name}; got {brief(held, 40)}; restore or remove it"
            )
    return document


def no_run(folder: Path, file: str) -> FileNotFoundError:
    """The error for a folder without a file that runs have, which says what it is instead."""
    expected = f"{folder} must be the folder of a run, such as `polymodal train` makes, with {file}"
    found = "it has none" if folder.is_dir() else "it is a file" if folder.exists() else "it does not exist"
    if (folder / "model.json").exists():
        found = "it holds a model alone, which does not know its data; pass the folder above, or ask the model from "
        found += "Python: polymodal.load"
    return FileNotFoundError(f"{expected}; {found}")


def refuse_unwritable(folder: Path, option: str) -> None:
    """Refuses a folder that cannot be made or written; one that was missing is missing afterwards.

    Raises:
        OSError: Says why, and which option names another.
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
            f"{folder} must be a folder that can be written: {error.strerror or error}; make room, give the right to "
            f"write, or choose another {option}"
        ) from error
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def _columns(path: Path, names: list[str], **options: Any) -> pd.DataFrame:
    """A table that a run has left, with at least these columns."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} must exist, for a report shows it, and does not; train, or restore it"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} must be CSV as polymodal writes it: {brief(error)}; restore or remove it") from error
    if lacks := [name for name in names if name not in frame]:
        raise ValueError(f"{path} must have the columns {', '.join(names)}; it lacks {', '.join(lacks)}; restore it")
    return frame
