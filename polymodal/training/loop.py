"""The training loop: one for every model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from polymodal.models.base import Model, check_model, tell_untrained
from polymodal.runtime import distributed
from polymodal.runtime.memory import held
from polymodal.runtime.seeding import seeded
from polymodal.runtime.validation import check_types
from polymodal.table.table import Table, steps
from polymodal.training.balance import balance
from polymodal.training.display import TrainingProgress
from polymodal.training.fit_settings import (
    arithmetic,
    check_compiler,
    check_ranges,
    check_rows,
    check_shared,
    make_accelerator,
    placed,
    trainable,
)
from polymodal.training.records import Records
from polymodal.training.run import Run
from polymodal.training.schedule import Kind
from polymodal.training.stopping import Stop

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fit", "check_settings", "fit"]


@dataclass(frozen=True)
class Fit:
    """What became of a training run."""

    history: pd.DataFrame
    """A row per epoch: `epoch`, `seconds`, `learning_rate` (of its last update), and every term of the loss as
    `train/<term>` and `validation/<term>`."""
    best_epoch: int
    """The epoch whose weights are now in the model, from 1."""
    folder: Path | None
    """Where the run was written."""
    prior_history: pd.DataFrame
    """Of a model whose codes are sampled by a flow, a row per round of the flow's training: `epoch` (passes over the
    training rows), `seconds` so far, `learning_rate`, `prior/train` and `prior/validation`; otherwise empty."""


def fit(
    model: Model,
    train: Table,
    validation: Table,
    *,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 5e-4,
    schedule: Kind = "constant",
    learning_rate_warmup: int = 0,
    weight_decay: float = 1e-5,
    accumulate: int = 1,
    clip: float | None = None,
    ema: float | None = None,
    warmup: int = 0,
    patience: int | None = None,
    prior_epochs: int | None = None,
    only: Literal["prior"] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Literal["bf16", "fp16", "tf32"] | None = None,
    compile: bool = False,
    folder: str | Path | None = None,
    resume: bool = False,
    save_every: int | None = None,
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> Fit:
    """Trains a model and leaves the weights of its best epoch, by validation loss, in it.

    The optimiser is Adam with coupled weight decay. Validation takes the full penalty and the same random draws
    every epoch. PyTorch's global random state is left as it was.

    With a folder, all that is needed to go on is written after each epoch. Ctrl-C and SIGTERM are met after the
    step under way and write it too; a second one breaks off at once. On a CPU with the same number of threads a
    run that was resumed, however it was interrupted, ends with the same bits as one that was not.

    Where torchrun or `accelerate launch` has started several processes, call it in all of them with the same
    arguments: each works on its part of every batch, and they end with the same weights and history, those of one
    process but for what is drawn within a model (see docs/several_devices.md). The main process writes and prints.

    A model whose codes are sampled by a flow (`prior="flow"` of MAC-WAE) is trained in two phases: first the
    autoencoder, as every model; then the flow on the codes of its best epoch, with AdamW, a cosine schedule and
    averaged weights. The second phase changes nothing but the flow.

    On a single GPU a step runs as one CUDA graph wherever the model allows it: the first three steps of every shape
    run as they are, and whether the loss is still finite is asked every 50 steps.

    Arguments:
        model: To train; it is moved to the device.
        train: A table, or anything with its `len` and `batches`.
        validation: Likewise.
        epochs: Passes over the training rows, at least `warmup`.
        batch_size: Rows per step, of all processes together.
        learning_rate: Adam's.
        schedule: "constant"; "cosine" falls to 0 over all updates; "plateau" halves the rate whenever the
            validation loss has not fallen for more than 5 epochs. See `Schedule`.
        learning_rate_warmup: Epochs over which the learning rate rises linearly to its full value.
        weight_decay: Adam's, coupled; 1e-5 in the paper.
        accumulate: Batches per update; the gradient is that of the mean over their rows.
        clip: Largest norm of the gradient; None clips nothing.
        ema: Decay of an exponential moving average of the weights, such as 0.999. The average is then what is
            validated, kept and saved. None keeps the weights themselves.
        warmup: Epochs over which the penalty's weight rises to its full value; none before counts as best.
        patience: Stop after so many epochs without a better one; None never stops early.
        prior_epochs: Passes over the training rows in which the flow is trained; by default as many as make one step of
            512 rows for each update of the autoencoder.
        only: "prior" trains a flow over the codes of a model that is trained already, and leaves all else as it is.
        seed: Of everything that is drawn from here on: order of the rows, conditioning, noise, dropout.
        device: "cpu", "cuda", or "auto", which takes a CUDA GPU if there is one.
        precision: "bf16" or "fp16" where the device has it; "tf32" on a GPU, which keeps 32 bits everywhere but
            within products; by default 32 bits, in convolutions too, where PyTorch's own default is "tf32".
        compile: Whether the networks are compiled by `torch.compile` first, which takes up to minutes and needs a
            compiler.
        folder: Of the run: `model/` (the best epoch's), `history.csv`, `experiment.json`, `state/`. None writes
            nothing.
        resume: Go on with the run in the folder, from its last state, if it holds one. All arguments must be
            those of that run, but for `device`, `compile`, `patience`, `save_every`, `trackers`, and, without the
            cosine schedule, `epochs`.
        save_every: Updates after which the state is written within an epoch too; None writes it after epochs.
        trackers: Names of Accelerate's trackers, such as "tensorboard" (in `logs/` of the folder), which get
            each row of the history under its names.
        progress: Whether to show a bar on a terminal, and a line per epoch elsewhere.

    Returns:
        The history, the best epoch and the folder.

    Raises:
        TypeError: The rows are in something without `batches`, such as a DataLoader.
        ValueError: An argument is out of its range, or the folder holds a run, and it is not to be resumed, or
            is another one, or another process trains there.
        OSError: The folder cannot be written; what was written before is untouched.
        FloatingPointError: The loss became infinite or NaN; names the modality and the step. The model keeps
            the weights of the best epoch until then.
        Stopped: Ctrl-C or SIGTERM came (a `KeyboardInterrupt`), and the run can be resumed.
        GoneError: Another process of the run has ended; the message says from where it can be resumed.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> model = build("mac-wae", data.schema, latent_dim=8, draws=2)
        >>> fit(model, data.train, data.validation, epochs=2, progress=False).history["epoch"].tolist()
        [1, 2]

    Source: MAC-WAE, Algorithm 1 and section "Experimental Design".
    """
    import pandas as pd

    check_model(model)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "learning_rate_warmup": learning_rate_warmup,
        "weight_decay": weight_decay,
        "accumulate": accumulate,
        "clip": clip,
        "ema": ema,
        "warmup": warmup,
        "patience": patience,
        "prior_epochs": prior_epochs,
        "only": only,
        "seed": seed,
        "device": device,
        "precision": precision,
        "compile": compile,
        "save_every": save_every,
        "trackers": trackers,
    }
    check_settings(**settings, folder=folder, resume=resume)
    settings = {name: value.item() if hasattr(value, "item") else value for name, value in settings.items()}
    for name, rows in {"train": train, "validation": validation}.items():
        check_rows(name, rows, model.schema)
    if only == "prior":
        model.enable_flow()
    every, (train, validation) = len(train), (trainable(model, rows) for rows in (train, validation))
    with Stop(caught=folder is not None) as stop:
        accelerator = make_accelerator(device, precision, trackers, None if folder is None else Path(folder))
        with distributed.together():
            if compile:
                check_compiler(accelerator.device)
            records = Records(folder, model, train, validation, settings, resume=resume)
        with closing(records), distributed.noticing(lambda: _advice(records)):
            if distributed.world() > 1:
                described = _described(model, train, validation, settings)
                distributed.require_same(repr([described, records.identity]), "model, data and settings")
                for name, rows in {"train": train, "validation": validation}.items():
                    check_shared(name, rows)
            model.to(accelerator.device)
            train, validation = (placed(rows, accelerator.device) for rows in (train, validation))
            if only is None:
                _note_untrained(model, train, records)
            if records.state is None and only is None:
                balance(model, train)
            model.drop_flow()  # no earlier: what is refused above leaves the model as it was
            run = Run(model, accelerator, train, validation, records, settings)
            main = not distributed.rank()
            shown = TrainingProgress(run.epochs, steps(len(train), run.batch_size), shown=progress and main)
            try:
                with held(), seeded(run.seed, accelerator.device), arithmetic(precision, accelerator.device), shown:
                    if len(train) < every:
                        shown.say(f"training on the {len(train):,} complete rows of {every:,}")
                    run.begin(shown)
                    while not (run.over or run.stopping(stop)):
                        run.one_epoch(stop, shown)
                    if stop.asked:
                        run.leave(stop)
                    if model.samples_by_flow:
                        run.train_prior(stop, shown)
            finally:
                run.release()
    prior_history = pd.DataFrame([] if run.prior is None else run.prior.history)
    return Fit(pd.DataFrame(run.history), run.best.epoch, records.folder, prior_history)


def check_settings(**settings: Any) -> None:
    """Refuses arguments of `fit` that are of the wrong type or out of their range.

    Arguments:
        **settings: Any of them but the model and the rows.

    Raises:
        ValueError: Names the first wrong one.

    Example:
        >>> check_settings(epochs=30, clip=1.0)
        >>> check_settings(epochs=0)
        Traceback (most recent call last):
        ValueError: epochs must be positive and below 2^63; got 0
    """
    check_types(settings, fit, "fit")
    check_ranges(**settings)


def _note_untrained(model: Model, rows: Table, records: Records) -> None:
    """Warns of modalities that no training row has, whose networks learn nothing, and notes them for the files."""
    if not hasattr(rows, "observed"):
        return
    none = records.untrained = model.note_training(rows.observed)
    if none and not distributed.rank():
        warnings.warn(tell_untrained(none), RuntimeWarning, stacklevel=3)


def _described(model: Model, train: Table, validation: Table, settings: dict[str, Any]) -> tuple[Any, ...]:
    """What must be the same in all processes."""
    told = {name: value for name, value in settings.items() if name != "device"}
    return model, sorted(told.items()), len(train), len(validation)


def _advice(records: Records) -> str:
    """What to do when another process is gone."""
    if records.folder is None:
        return "start all of them again; with folder=... they would go on where they were"
    if records.written is None:
        return f"no state was written to {records.folder} yet; start all of them again"
    epoch, step = records.written
    return (
        f"the state of epoch {epoch}, after {step} of its steps, is in {records.folder}; start all of them again with "
        f"resume=True (polymodal train --resume {quote(str(records.folder))})"
    )
