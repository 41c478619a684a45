"""Training of a model from settings: checks the settings, trains, and writes the settings into the run folder."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from polymodal import training
from polymodal.cli import output_checks, table_settings
from polymodal.cli.processes import count, number
from polymodal.cli.run_folder import RECORD, SPLITS, count_epochs, no_run, refuse_unwritable
from polymodal.datasets import user_tables
from polymodal.io import checkpoint
from polymodal.io.json_files import refuse_endless
from polymodal.io.locks import claim_folder
from polymodal.io.yaml import assignments, dump, read
from polymodal.models import upgrade_arguments_of, upgrade_document
from polymodal.runtime import distributed
from polymodal.settings import Settings, resolve, schema_settings

if TYPE_CHECKING:
    from polymodal.datasets import Dataset
    from polymodal.models import Model
    from polymodal.training import Fit

__all__ = [
    "FILES",
    "SETTINGS",
    "check_run",
    "combine_settings",
    "format_settings",
    "load_resumed_settings",
    "remove_run",
    "train_in_folder",
]

MODEL_FILES, STATE_FILES = ["model.json", "weights.safetensors"], ["state.safetensors"]

SETTINGS = "settings.yaml"
"""Name of the settings file in a run folder."""
FILES = ["experiment.json", "history.csv", "prior_history.csv", "report.html", "scores.csv", SETTINGS]
FILES += [*(f"scores-{split}.csv" for split in SPLITS), "model", "state", "logs"]
"""Files and folders in a run folder, written by `train`, `evaluate` and `report`."""
HEAD = "All settings of a run of polymodal"
"""Beginning of the first line of the settings file."""


def combine_settings(
    given: Mapping[str, Any], assigned: Sequence[str], config: Path | None, resume: Path | None
) -> Settings:
    """Returns the effective settings of a command.

    Arguments:
        given: Settings from dedicated options, by name.
        assigned: Further settings, as "name=value".
        config: YAML file of settings.
        resume: Folder of a run to resume.

    Raises:
        FileNotFoundError: The file or the run does not exist.
        ValueError: A setting is invalid, is given twice, or cannot be changed when a run is resumed.
    """
    line = assignments(assigned)
    if twice := sorted({*given} & {*line}):
        raise ValueError(f"a setting must be given once; got {twice[0]} as an option and by --set; leave one out")
    line |= given
    if resume is None:
        document = {} if config is None else _upgrade_settings(read(config))
        return resolve(_choose_defaults(line, document) | document, line)
    other = sorted(name for name in line if name.removeprefix("fit.") not in training.FREE)
    if other := other + ["config"] * (config is not None):
        raise ValueError(
            f"--resume can change only {', '.join(training.FREE)}, because any other change would make it a different "
            f"run; got {', '.join(other)}; leave it out, or train a new run in another --folder"
        )
    return load_resumed_settings(resume, line)


def _choose_defaults(line: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the default settings for the table on the command line, without the settings that are given."""
    if line.get("dataset") != "table":
        return {}
    sections = [part for part in document.values() if isinstance(part, Mapping)]
    given = {name.rpartition(".")[2] for part in (line, document, *sections) for name in part}
    suited = table_settings.choose_defaults(
        user_tables.count_rows(line["data.path"]), line.get("model") or document.get("model") or "mac-wae"
    )
    data = {**dict(document.get("data") or {}), **{name.removeprefix("data."): value for name, value in line.items()}}
    suited |= {f"data.{name}": value for name, value in table_settings.infer_csv_options(data).items()}
    if given & {"prior", "compile"}:  # an ensemble has no flow, and is not compiled
        suited.pop("build.members", None)
    return {name: value for name, value in suited.items() if name.rpartition(".")[2] not in given}


def check_run(settings: Settings, *, new: bool = True, overwrite: bool = False) -> None:
    """Checks settings as far as possible without data.

    Arguments:
        settings: Settings to check.
        new: Whether the run is new, so that the folder must not hold a run.
        overwrite: Whether a new run may replace an earlier one.

    Raises:
        OSError: The folder cannot be created or written.
        ValueError: A value is out of range, the device is not available, the folder holds a run, or the folder holds
            another file with the name of a file of a run.
    """
    training.check_settings(**settings.fit)
    folder = Path(settings.folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file; choose another --folder")
    if new and training.holds_run(folder) and not overwrite:
        raise ValueError(
            f"{folder} must not hold a run, and it does; choose another --folder, resume the run with "
            f"`polymodal train --resume {shlex.quote(str(folder))}`, or replace it with --overwrite"
        )
    if new:
        _refuse_foreign(folder, settings)
    if number() == 0:
        refuse_unwritable(folder, "--folder")


def _refuse_foreign(folder: Path, settings: Settings) -> None:
    """Checks that a new run would only replace files of an earlier run."""
    if settings.dataset == "table":
        for name in FILES:
            output_checks.refuse_sources(folder / name, [Path(settings.data["path"])], "--folder")
    if not (folder / RECORD).exists():
        own = (_read_if_exists(folder / SETTINGS) or "").startswith(
            f"# {HEAD}"
        )  # settings of a run that stopped before its first step
        names = [name for name in FILES if (folder / name).exists() and not (own and name == SETTINGS)]
        if names:
            raise ValueError(
                f"{folder} must not hold {names[0]}, which is not a file of a run; choose another --folder"
            )
    for name, files in (("model", MODEL_FILES), ("state", STATE_FILES)):
        checkpoint.sweep(folder / name)
        checkpoint.refuse_foreign(folder / name, files)


def remove_run(settings: Settings) -> None:
    """Removes an earlier run from the folder of the settings, in the main process. Other files there are kept.

    The file that identifies the run is removed last, so an interrupted process can be started again.
    """
    if count() > 1:
        training.connect_processes(settings.fit["device"])
    with distributed.share_errors():
        if number() == 0:
            with claim_folder(Path(settings.folder), "removes an earlier run from it"):
                for name in reversed(FILES):
                    path = Path(settings.folder, name)
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def train_in_folder(settings: Settings, data: Dataset, model: Model, *, resume: bool = False) -> Fit:
    """Trains a model in the folder of the settings, and writes the settings there.

    With several processes, all of them train and the main process writes.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The run in the folder cannot be resumed with these settings. This error, like every error before
            training begins, leaves the settings file unchanged.
    """
    folder = Path(settings.folder)
    if number():
        return training.fit(model, data.train, data.validation, folder=folder, resume=resume, **settings.fit)
    with claim_folder(folder, "trains in it"):
        path = folder / SETTINGS
        before, mark = _read_if_exists(path), _mark(folder)
        _write(path, format_settings(settings))
        try:
            return training.fit(model, data.train, data.validation, folder=folder, resume=resume, **settings.fit)
        except Exception as error:
            if _mark(folder) == mark or (resume and isinstance(error, ValueError)):
                with suppress(OSError):  # the original error is more informative
                    _restore(path, before)
            raise


def load_resumed_settings(folder: Path, changes: Mapping[str, Any]) -> Settings:
    """Returns the settings of a run to resume.

    Arguments:
        folder: Run folder.
        changes: Settings to change from now on.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The run was not created by the command line, its settings name no data set, or it already has more
            epochs than requested.
    """
    if (folder / SETTINGS).exists():
        document = _disable_linear_path(folder, _upgrade_settings(read(folder / SETTINGS)))
        if "dataset" not in document:
            raise ValueError(f"{folder / SETTINGS} must name a data set, and it does not; restore it")
        try:
            resolve(document)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{folder / SETTINGS} is damaged or edited: {error}; restore it") from error
        settings = replace(resolve(document, changes), folder=str(folder))
        epochs = settings.fit["epochs"]
        if {"epochs", "fit.epochs"} & {*changes} and epochs < (done := count_epochs(folder)):
            raise ValueError(f"--epochs must be at least {done}, the number of finished epochs; got {epochs}")
        return settings
    if (folder / "experiment.json").exists():
        raise ValueError(
            f"{folder} must hold {SETTINGS}, which `polymodal train` writes; this run was trained from "
            f"Python; resume it there, with its model and data: fit(..., folder={str(folder)!r}, resume=True)"
        )
    raise no_run(folder, SETTINGS)


def _upgrade_settings(document: dict[str, Any]) -> dict[str, Any]:
    """Converts settings of versions without relative betas, which wrote every setting, to the current format."""
    build = document.get("build")
    if not isinstance(build, Mapping) or "bandwidth" not in build or "relative" in build:
        return document
    return {**document, "build": upgrade_arguments_of(document.get("model", "mac-wae"), dict(build))}


def _disable_linear_path(folder: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run with `factors=0` if its model was built by a version without a linear path."""
    path, build = folder / RECORD, document.get("build") or {}
    model = (checkpoint.read_json(path).get("model") if path.exists() else None) or {}
    arguments = model.get("arguments") if isinstance(model, dict) else None
    if not isinstance(arguments, dict) or not isinstance(build, Mapping) or "factors" in {**arguments, **build}:
        return document
    upgraded = upgrade_document({"model": model.get("name"), "arguments": arguments})["arguments"]
    return {**document, "build": {**build, "factors": 0}} if "factors" in upgraded else document


def _mark(folder: Path) -> tuple[int, int] | None:
    """Returns the inode and modification time of `experiment.json`, which `fit` rewrites when training begins."""
    path = folder / "experiment.json"
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def _read_if_exists(path: Path) -> str | None:
    refuse_endless(path)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def _write(path: Path, settings: str) -> None:
    try:
        checkpoint.write_text(path, settings)
    except OSError as error:
        raise OSError(
            f"{path.parent} must be writable: {error.strerror or error}; free disk space, change the permissions, or "
            "choose another --folder"
        ) from error


def _restore(path: Path, before: str | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    else:
        checkpoint.write_text(path, before)


def format_settings(settings: Settings) -> str:
    """Returns the content of the settings file: comments and all settings in YAML."""
    again = f"polymodal train --config {shlex.quote(f'{settings.folder}/{SETTINGS}')} --folder runs/again"
    comments = [
        f"{HEAD} {version('polymodal')}. To run it again:",
        f"  {again}",
        "The section schema accepts these arguments of modalities:",
        *(f"  {line}" for line in wrap(", ".join(schema_settings()), 90)),
    ]
    return dump(asdict(settings), comments)
