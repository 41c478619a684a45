"""Files of a training run: writing them to the run folder and reading them back."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.io import checkpoint
from polymodal.io.locks import claim_folder
from polymodal.modalities.serialization import strip_notes
from polymodal.models import upgrade_document
from polymodal.runtime import distributed
from polymodal.training.fit_settings import FitSettings

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.table.table import Table

__all__ = ["FREE", "Records", "State", "holds_run"]

STATE = Path("state", "state.safetensors")
FORMAT = 1
FREE = ("epochs", "patience", "device", "compile", "save_every", "trackers")
"""Settings of `fit` that may differ when a run is resumed: the end of the run, its device and its outputs."""

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Everything that is needed to resume: tensors, and a JSON document."""

LATER = ("flow", "untrained", "calibration")
"""Entries that training adds to a model's document."""


class Records:
    """A run folder: `state/`, `model/`, `history.csv`, `experiment.json`.

    The state is written first, atomically, and all other files can be recreated from it. A process can therefore be
    killed at any time, and the run can be resumed from the last state. With several processes, all read the folder and
    the main process writes to it; all processes raise its write errors.

    Arguments:
        folder: Run folder; None writes nothing.
        model: Model, whose name, seed and arguments are recorded.
        train: Training rows, whose source and fingerprint are recorded.
        validation: Validation rows, whose fingerprint is recorded.
        settings: Settings of the run.
        resume: Whether to resume a run in the folder.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The folder has a run and `resume` is False, the run in the folder differs from this one, or another
            process uses the folder.
    """

    def __init__(
        self,
        folder: str | Path | None,
        model: Model,
        train: Table,
        validation: Table,
        settings: FitSettings,
        *,
        resume: bool,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.state: State | None = None
        self.identity: dict[str, Any] = {}
        self.untrained: list[str] = []  # modalities that no training row has
        self.written: tuple[int, int] | None = None  # epoch and step of the last state
        self.lock = ExitStack()
        if self.folder is None:
            return
        self.model = {name: part for name, part in model.document.items() if name not in LATER}
        self.experiment = _plain(
            {
                "model": {"name": model.name, "seed": model.seed, "arguments": model.arguments},
                "fit": vars(settings),
                "data": {**getattr(train, "source", {}), "rows": len(train), "fingerprint": _fingerprint(train)},
                "versions": _versions(),
            }
        )
        free = [name for name in FREE if name != "epochs" or settings.schedule != "cosine"]
        self.identity = _plain(
            {
                "model": _without_notes(self.model),
                "fit": {name: value for name, value in vars(settings).items() if name not in free},
                "data": {"train": _fingerprint(train), "validation": _fingerprint(validation)},
            }
        )
        with ExitStack() as lock:
            if not distributed.rank():
                lock.enter_context(claim_folder(self.folder, "trains in it"))
            self._open(self.folder, resume=resume)
            self.lock = lock.pop_all()

    def close(self) -> None:
        """Releases the lock of the folder."""
        self.lock.close()

    @property
    def path(self) -> Path:
        """Path of the state file."""
        return (self.folder or Path()) / STATE

    def save(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        """Writes the state.

        Raises:
            OSError: The state could not be written; the earlier state is unchanged.
        """
        if self.folder is not None:
            written = {"format": FORMAT, "experiment": self.identity, **document}
            self._write(lambda: checkpoint.write_state(self.path, tensors, written))
            self.written = document["epoch"], document["step"]

    def begin(self) -> None:
        """Writes the model, settings, data and versions of the run to `experiment.json`.

        Raises:
            OSError: The file could not be written.
        """
        if (folder := self.folder) is not None:
            self._write(lambda: checkpoint.write_text(folder / "experiment.json", checkpoint.to_json(self.experiment)))

    def publish_prior(self, history: list[dict[str, float]], model: Model | None) -> None:
        """Writes `prior_history.csv` and, once the flow is trained, the model with its flow.

        Arguments:
            history: One row per round of the flow's training.
            model: Model with the trained flow; None before the training has ended.

        Raises:
            OSError: The files could not be written.
        """
        import pandas as pd

        if (folder := self.folder) is None:
            return
        text = pd.DataFrame(history).to_csv(index=False)
        self._write(lambda: checkpoint.write_text(folder / "prior_history.csv", text))
        if model is not None:
            files = {"model.json": model.document, "weights.safetensors": model.state_dict()}
            self._write(lambda: checkpoint.write(folder / "model", files))

    def publish_calibration(self, model: Model) -> None:
        """Writes the model with its calibration.

        Raises:
            OSError: The files could not be written.
        """
        if (folder := self.folder) is not None and model.calibration is not None:
            files = {"model.json": model.document, "weights.safetensors": model.state_dict()}
            self._write(lambda: checkpoint.write(folder / "model", files))

    def publish(self, history: list[dict[str, float]], weights: dict[str, Tensor] | None) -> None:
        """Writes `history.csv`, and the model with the best weights.

        Arguments:
            history: One row per epoch; an empty history is not written.
            weights: Best weights; None if they have not changed.

        Raises:
            OSError: The files could not be written.
        """
        import pandas as pd

        if (folder := self.folder) is None:
            return
        if history:
            text = pd.DataFrame(history).to_csv(index=False)
            self._write(lambda: checkpoint.write_text(folder / "history.csv", text))
        if weights is not None:
            noted = {"untrained": self.untrained} if self.untrained else {}
            files = {"model.json": {**self.model, **noted}, "weights.safetensors": weights}
            self._write(lambda: checkpoint.write(folder / "model", files))

    def _open(self, folder: Path, *, resume: bool) -> None:
        if holds_run(folder) and not resume:
            raise ValueError(
                f"{folder} must not contain a run, but it does; pass resume=True to resume that run, choose another "
                "folder, or remove that run"
            )
        if (folder / STATE).exists():
            self.state = checkpoint.read_state(folder / STATE)
            self._check(folder, self.state[1])
            self._keep_source(folder)
            self.written = self.state[1].get("epoch", 0), self.state[1].get("step", 0)
        elif holds_run(folder):
            raise ValueError(f"{folder} must contain {STATE} to be resumed, but it does not; choose another folder")
        if distributed.rank():
            return
        try:
            checkpoint.check_writable(folder)
        except OSError as error:
            raise self._unwritten(error) from error
        checkpoint.sweep(folder)
        checkpoint.sweep(folder / STATE.parent)

    def _keep_source(self, folder: Path) -> None:
        """Keeps entries on the source of the rows that `experiment.json` has and the resumed run does not have."""
        if (folder / "experiment.json").exists():
            noted = checkpoint.read_json(folder / "experiment.json").get("data")
            self.experiment["data"] = {**(noted if isinstance(noted, dict) else {}), **self.experiment["data"]}

    def _check(self, folder: Path, document: dict[str, Any]) -> None:
        if type(document.get("format")) is not int or document["format"] != FORMAT:
            raise ValueError(
                f"{folder / STATE} must be of format {FORMAT}; got {document.get('format')!r}; "
                "if it is newer, update polymodal"
            )
        if difference := _find_difference(_upgrade_experiment(document.get("experiment")), self.identity, ""):
            name, recorded, given = difference
            way = "resume with the same data, model and settings, or choose another folder"
            if name == "fit.epochs":
                way = "the learning rate decreases to 0 over all epochs (schedule='cosine'), so train a new run"
            raise ValueError(
                f"{folder} contains a different experiment: {name} is {recorded} there, but {given} was given; {way}"
            )

    def _write(self, write: Callable[[], object]) -> None:
        """Calls `write` in the main process, and raises its error in all processes."""
        with distributed.share_errors():
            if distributed.rank():
                return
            try:
                write()
            except OSError as error:
                raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> OSError:
        return OSError(
            f"{self.folder} must be writable: {error.strerror or error}; earlier files are unchanged; "
            "free space on the disk or permit writing, and resume the run"
        )


def holds_run(folder: Path) -> bool:
    """Returns whether a folder has a run, that is, a state or a model."""
    return (folder / STATE).exists() or (folder / "model").exists()


def _upgrade_experiment(experiment: Any) -> Any:
    """Returns the experiment of a state, with the model's document in the current format."""
    if not isinstance(experiment, dict) or not isinstance(experiment.get("model"), dict):
        return experiment
    return {**experiment, "model": upgrade_document(experiment["model"])}


def _without_notes(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a model's document without the notes in its schema on how cells are written.

    These notes do not affect training.
    """
    schema = document["schema"]
    modalities = [strip_notes(modality) for modality in schema["modalities"]]
    return {**document, "schema": {**schema, "modalities": modalities}}


def _find_difference(recorded: Any, given: Any, name: str) -> tuple[str, str, str] | None:
    """Returns the name of the first entry in which two JSON documents differ and its two values, or None."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in {**given, **recorded}:
            inner = f"{name}.{key}" if name else key
            if found := _find_difference(recorded.get(key), given.get(key), inner):
                return found
        return None
    return None if recorded == given else (name, _shorten(recorded), _shorten(given))


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a document as it would be read back from a JSON file."""
    return json.loads(checkpoint.to_json(document))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"polymodal": version("polymodal"), "torch": torch.__version__, "python": platform.python_version()}


def _fingerprint(rows: Table) -> str | int:
    """Returns the fingerprint of a table, or the number of rows if they have none."""
    return rows.fingerprint() if hasattr(rows, "fingerprint") else len(rows)
