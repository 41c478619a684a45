"""Loading of the data set of a run from the record in the run folder, and detection of changes since training."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal import datasets, models
from polymodal.datasets import DATASETS, user_tables
from polymodal.datasets.table_files import MOST_LETTERS, fingerprint_files, is_unchanged
from polymodal.io import checkpoint
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import say
from polymodal.runtime.registry import lookup, unknown
from polymodal.runtime.validation import check_types

if TYPE_CHECKING:
    from polymodal.datasets.table_files import Contents
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = [
    "RECORD",
    "SPLITS",
    "check_data",
    "choose_output",
    "choose_split",
    "experiment",
    "holds_model_only",
    "no_run",
    "open_table",
    "open_tables",
    "read_source",
]

SPLITS = ("test", "validation", "train")
CHANGED = ("error", "warn")
RECORD = "experiment.json"


def open_table(folder: Path, split: str = "test", on_changed: str = "error") -> Table:
    """Loads a split of the data set of a run. Nothing is downloaded, even if the run's arguments ask for it.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The split does not exist, the data set cannot be loaded by name, or `on_changed` is "error" and the
            table's file has changed since training.
    """
    return open_tables(folder, split, on_changed=on_changed)[0]


def open_tables(folder: Path, *splits: str, on_changed: str = "error", schema: Schema | None = None) -> list[Table]:
    """Loads several splits of the data set of a run, as `open_table` does.

    A table's file is read with `schema`; by default this is the schema of the run's model.
    """
    for split in splits:
        if split not in SPLITS:
            raise unknown(split, SPLITS, "split")
    if on_changed not in CHANGED:
        raise unknown(on_changed, CHANGED, "value of --on-changed")
    source = experiment(folder)["data"]
    if "dataset" not in source:
        raise ValueError(
            f"{folder} must be a run on a table's file or on a data set that `polymodal datasets` lists; it was "
            "trained from Python on another table; use its model from Python: polymodal.load(folder + '/model'), "
            "polymodal.evaluate, polymodal.report.write"
        )
    arguments = check_data(folder, source)
    if "test" in splits and not _has_test_rows(source):
        raise ValueError(
            f"{folder} has no test rows, because it was trained with --test 0; choose --split validation or --split "
            "train, or pass a table's file where the command takes one"
        )
    with _name_record_in_errors(folder):
        contents = _find_contents(arguments) if source["dataset"] == "table" else None
    if contents is None:
        with _name_record_in_errors(folder):
            data = datasets.load(source["dataset"], **arguments)
        return [getattr(data, split) for split in splits]
    changed = _is_changed(folder, source, contents, on_changed)
    schema = models.load(folder / "model").schema if schema is None else schema
    with _name_record_in_errors(folder):
        data = user_tables.read_as(schema, contents, anew=changed, **arguments)
    about = {"changed": "the table has changed since training"} if changed else {}
    tables: list[Table] = [getattr(data, split) for split in splits]
    return [replace(table, source={**table.source, **about}, digest=table.fingerprint()) for table in tables]


def choose_split(folder: Path) -> str:
    """Returns the default split of a run: "test", or "validation" if the run has no test rows, which is reported.

    Raises:
        FileNotFoundError: The folder holds no run.
    """
    if _has_test_rows(experiment(folder)["data"]):
        return "test"
    say(
        f"{folder} has no test rows, because it was trained with --test 0; its validation rows are used. They chose "
        "the best epoch, so scores on them may be a little too good"
    )
    return "validation"


def _has_test_rows(source: Mapping[str, Any]) -> bool:
    return source.get("dataset") != "table" or source.get("arguments", {}).get("test") != 0


def check_data(folder: Path, source: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the name and the arguments of a data set without loading data, and returns the arguments.

    The argument `download` is removed.

    Raises:
        ValueError: The data set is unknown, or an argument has an invalid type or text.
    """
    arguments = {name: value for name, value in source.get("arguments", {}).items() if name != "download"}
    if "dataset" in source:
        with _name_record_in_errors(folder):
            _check_texts(arguments)
            check_types(arguments, lookup(DATASETS, source["dataset"], "data set"), source["dataset"])
    return arguments


def experiment(folder: Path) -> dict[str, Any]:
    """Reads `experiment.json` of a run, in which "data" is always a mapping.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The file is damaged or was edited.
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


def holds_model_only(folder: Path) -> bool:
    """Returns whether a folder is that of a model without its run, such as one from the Hugging Face Hub."""
    return (folder / "model.json").exists() and not (folder / RECORD).exists()


def read_source(folder: Path) -> dict[str, Any]:
    """Reads the record of a run's data set; that of a model without its run is empty.

    Raises:
        FileNotFoundError: The folder holds neither a run nor a model.
        ValueError: The record is damaged or was edited.
    """
    return {} if holds_model_only(folder) else experiment(folder)["data"]


def choose_output(folder: Path, name: str) -> Path:
    """Returns the default path of an output: in the run folder, or in the current folder for a model without its run.

    A model's folder must hold nothing else, and the cache of the Hugging Face Hub is no place for outputs.
    """
    return Path(name) if holds_model_only(folder) else folder / name


def no_run(folder: Path, file: str) -> FileNotFoundError:
    """Returns the error for a folder without a file that every run has; the message states what was found instead."""
    expected = f"{folder} must be a run folder, as `polymodal train` writes it, with {file}"
    found = "it has none" if folder.is_dir() else "it is a file" if folder.exists() else "it does not exist"
    if (folder / "model.json").exists():
        found = "it holds only a model, without its data; pass the folder above it, or a table's file to a command "
        found += "that takes one, or use the model from Python: polymodal.load"
    return FileNotFoundError(f"{expected}; {found}")


@contextmanager
def _name_record_in_errors(folder: Path) -> Iterator[None]:
    """Reports errors in the `with` block as errors in the record of the run's data set."""
    try:
        yield
    except (TypeError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(f"{folder / RECORD} must name a data set that can be loaded: {brief(error, 600)}") from error


def _find_contents(arguments: Mapping[str, Any]) -> Contents:
    """Returns the current contents of the run's table, whose path must be absolute."""
    path = str(arguments.get("path", ""))
    if not Path(path).is_absolute():
        raise ValueError(f"the path of a run's table must be absolute; got {brief(repr(path), 60)}; restore the file")
    return user_tables.find_contents(path)


def _is_changed(folder: Path, data: Mapping[str, Any], contents: Contents, on_changed: str) -> bool:
    """Returns whether the contents of a table have changed since training, and reports the change.

    Raises:
        ValueError: The contents have changed, and `on_changed` is "error".
    """
    path, unchanged = data["arguments"]["path"], is_unchanged(data, contents)
    if unchanged is None:
        say(f"{folder} does not record the contents of {path} at its training, so a change of it cannot be noticed")
    if unchanged is not False:
        return False
    why = (
        f"{path} has changed since {folder} was trained ({data['files'].get('bytes')} bytes then, "
        f"{fingerprint_files(contents)['bytes']} now). It is split again, so any of its rows may have been "
        "used for training"
    )
    if on_changed == "error":
        raise ValueError(f"{why}; restore it, or use it nevertheless with --on-changed warn")
    say(f"{why}; it is read with the model's schema, and scores on it may be too good")
    return True


def _check_texts(arguments: object) -> None:
    """Checks that texts from an untrusted file can be names or paths.

    Raises:
        ValueError: A text is longer than 4,096 characters, or contains a control character.
    """
    if isinstance(arguments, str):
        if len(arguments) > MOST_LETTERS or any(unicodedata.category(letter) == "Cc" for letter in arguments):
            raise ValueError(
                f"texts must have at most {MOST_LETTERS:,} characters, none of them a control character; "
                f"got {brief(repr(arguments), 60)}"
            )
    elif isinstance(arguments, Mapping | list):
        for part in [*arguments, *arguments.values()] if isinstance(arguments, Mapping) else arguments:
            _check_texts(part)
