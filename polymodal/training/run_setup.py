"""Sets up a training run: rows, processes, device, run folder and loss weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from polymodal.models.base import Model
from polymodal.runtime import distributed
from polymodal.runtime.memory import retain_freed_memory
from polymodal.runtime.seeding import seed_streams
from polymodal.table.table import Table, steps
from polymodal.training.accelerator import check_compiler, make_accelerator, set_precision
from polymodal.training.balance import balance
from polymodal.training.display import TrainingProgress
from polymodal.training.fit_settings import FitSettings
from polymodal.training.records import Records
from polymodal.training.run import Run
from polymodal.training.stopping import Stop
from polymodal.training.training_rows import check_shared, move_to_gpu_if_fits, select_rows

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["open_run"]


@contextmanager
def open_run(
    model: Model,
    train: Table,
    validation: Table,
    settings: FitSettings,
    folder: Path | None,
    stop: Stop,
    *,
    resume: bool,
    progress: bool,
) -> Iterator[Run]:
    """Context manager that sets up a run, and leaves the model with the weights of the best epoch.

    Within the context, the run folder is locked, PyTorch's global generators have the run's seed, and the progress
    display is shown.

    Arguments:
        model: Model to train; it is moved to the device.
        train: Training rows.
        validation: Validation rows.
        settings: Settings of the run.
        folder: Run folder; None writes nothing.
        stop: Requests to stop.
        resume: Whether to resume a run in the folder.
        progress: Whether to show the progress.

    Raises:
        ValueError: The rows, the device or the folder are not suitable; see `fit`.
        OSError: The folder cannot be written.
        GoneError: Another process of the run has ended.
    """
    rows = len(train)
    train, validation = select_rows(model, train), select_rows(model, validation)
    accelerator = make_accelerator(settings.device, settings.precision, settings.trackers, folder)
    with distributed.share_errors():
        if settings.compile:
            check_compiler(accelerator.device)
            if model.member_count > 1:
                raise ValueError("compile=True cannot compile a model with members; leave it out")
        records = Records(folder, model, train, validation, settings, resume=resume)
    with closing(records), distributed.detect_lost_process(lambda: _describe_restart(records)):
        if distributed.world_size() > 1:
            _check_processes(model, train, validation, settings, records)
        run = _make_run(model, accelerator, train, validation, settings, records, stop, progress=progress)
        try:
            with (
                retain_freed_memory(),
                seed_streams(settings.seed, accelerator.device),
                set_precision(settings.precision, accelerator.device),
                run.shown,
            ):
                if len(train) < rows:
                    run.shown.say(f"training on the {len(train):,} complete rows of {rows:,}")
                yield run
        finally:
            run.release()


def _make_run(
    model: Model,
    accelerator: Accelerator,
    train: Table,
    validation: Table,
    settings: FitSettings,
    records: Records,
    stop: Stop,
    *,
    progress: bool,
) -> Run:
    """Moves the model and the rows to the device, and computes the loss weights of a new run."""
    model.to(accelerator.device)
    train, validation = (move_to_gpu_if_fits(rows, accelerator.device) for rows in (train, validation))
    if settings.only is None:
        if hasattr(train, "observed"):
            records.untrained = model.note_training(train.observed)
        if records.state is None:
            balance(model, train)
    model.calibration = None  # it fits only the weights that it was measured with
    model.drop_flow()  # only here, because an error in an earlier check must leave the model unchanged
    shown = progress and distributed.rank() == 0
    display = TrainingProgress(settings.epochs, steps(len(train), settings.batch_size), shown=shown)
    return Run(model, accelerator, train, validation, settings, records, stop, display)


def _check_processes(model: Model, train: Table, validation: Table, settings: FitSettings, records: Records) -> None:
    """Checks that all processes have the same model, data and settings, and can share the rows."""
    compared = sorted((name, value) for name, value in vars(settings).items() if name != "device")
    common = model, compared, len(train), len(validation)
    distributed.require_same(repr([common, records.identity]), "model, data and settings")
    check_shared("train", train)
    check_shared("validation", validation)


def _describe_restart(records: Records) -> str:
    """Returns advice for the user when another process has ended."""
    if records.folder is None:
        return "start all processes again; with folder=... the run could be resumed"
    if records.written is None:
        return f"no state was written to {records.folder} yet; start all processes again"
    epoch, step = records.written
    return (
        f"the state of epoch {epoch}, after {step} of its steps, is in {records.folder}; start all processes again "
        f"with resume=True (polymodal train --resume {quote(str(records.folder))})"
    )
