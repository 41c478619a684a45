"""`fit`, the training of all models, and where its parts are.

- `FitSettings` in `polymodal.training.fit_settings` holds the arguments of `fit`.
- `open_run` in `polymodal.training.run_setup` checks the rows and sets up the device, the run folder and the run.
- `Run` in `polymodal.training.run` has the two phases of training: `train_autoencoder` and, if a flow samples the
  codes, `train_prior`.
- `AutoencoderTraining` in `polymodal.training.autoencoder` is the first phase: its epochs, batches and validation.
- `Step` in `polymodal.training.step` is one step of the first phase. Its method `_forward_backward_update` is the
  sequence of forward pass, backward pass and update of the weights.
- `RunState` in `polymodal.training.run_state` is what is saved to resume the first phase.
- `PriorTraining` in `polymodal.training.prior` is the second phase, with its own steps and state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polymodal.models.base import Model, check_model
from polymodal.runtime.validation import check_types
from polymodal.table.table import Table
from polymodal.training.fit_settings import FitSettings, check_folder, check_ranges
from polymodal.training.run_setup import open_run
from polymodal.training.schedule import Kind
from polymodal.training.stopping import Stop
from polymodal.training.training_rows import check_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fit", "check_settings", "complete_settings", "fit"]


@dataclass(frozen=True)
class Fit:
    """Result of a training run."""

    history: pd.DataFrame
    """One row per epoch: `epoch`, `seconds`, `learning_rate` (of the last update), and every term of the loss as
    `train/<term>` and `validation/<term>`."""
    best_epoch: int
    """Number of the epoch whose weights are now in the model, from 1."""
    folder: Path | None
    """Run folder; None if nothing was written."""
    prior_history: pd.DataFrame
    """One row per round of the flow's training, if a flow samples the model's codes: `epoch` (passes over the training
    rows), `seconds` so far, `learning_rate`, `prior/train` and `prior/validation`; otherwise empty."""


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
    """Trains a model and leaves it with the weights of the epoch with the lowest validation loss.

    The optimiser is Adam with coupled weight decay. Validation uses the full penalty weight and the same random numbers
    in every epoch. PyTorch's global random state is restored afterwards.

    If a folder is given, the training state is written after each epoch. Ctrl-C and SIGTERM stop training after the
    current step, and the state is written; a second signal stops at once. On a CPU with the same number of threads, the
    result of a resumed run is bit-identical to that of an uninterrupted run.

    With several processes, started by torchrun or `accelerate launch`, call `fit` in all of them with the same
    arguments. Each process works on its part of every batch, and all end with the same weights and history. These equal
    those of a single process, except for random numbers that are sampled within a model (see
    docs/several_devices.md). The main process writes files and prints.

    A model whose codes are sampled by a flow (`prior="flow"` of MAC-WAE) is trained in two phases. The first phase
    trains the autoencoder, as for every model. The second phase trains the flow on the codes of the best epoch, with
    AdamW, a cosine schedule and averaged weights, and changes only the flow.

    On a single GPU, a step runs as one CUDA graph if the model allows it. The first three steps of every shape run
    without a graph, and the loss is checked for finite values every 50 steps.

    Arguments:
        model: Model to train; it is moved to the device.
        train: Training rows: a table, or any object with its `len` and `batches`.
        validation: Validation rows, of the same kinds.
        epochs: Number of passes over the training rows, at least `warmup`.
        batch_size: Rows per step, summed over all processes.
        learning_rate: Learning rate of Adam.
        schedule: "constant"; "cosine" decays to 0 over all updates; "plateau" halves the rate whenever the
            validation loss has not fallen for more than 5 epochs. See `Schedule`.
        learning_rate_warmup: Number of epochs over which the learning rate rises linearly to its full value.
        weight_decay: Coupled weight decay of Adam; 1e-5 in the paper.
        accumulate: Batches per update; the gradient is that of the mean over their rows.
        clip: Maximum norm of the gradient; None disables clipping.
        ema: Decay of an exponential moving average of the weights, such as 0.999. The averaged weights are then
            validated, kept and saved. None disables averaging.
        warmup: Number of epochs over which the penalty weight rises to its full value; earlier epochs do not count as
            best.
        patience: Number of epochs without improvement after which training stops; None disables early stopping.
        prior_epochs: Number of passes over the training rows for the flow; by default as many as give four steps of 512
            rows for every three updates of the autoencoder.
        only: "prior" trains a flow over the codes of a trained model and changes nothing else.
        seed: Random seed for the order of the rows, conditioning masks, noise and dropout.
        device: "cpu", "cuda", or "auto", which selects a CUDA GPU if one is available.
        precision: "bf16"; "fp16" or "tf32" on a GPU. "tf32" keeps 32 bits everywhere except in matrix products and
            convolutions. By default all computations use 32 bits, also convolutions, where PyTorch's default is "tf32".
        compile: Whether to compile the networks with `torch.compile` first. This can take minutes and needs a compiler.
        folder: Run folder, with `model/` (of the best epoch), `history.csv`, `experiment.json` and `state/`. None
            writes nothing.
        resume: Whether to resume the run in the folder from its last state, if the folder has one. All arguments must
            be those of that run, except `device`, `compile`, `patience`, `save_every`, `trackers` and, without the
            cosine schedule, `epochs`.
        save_every: Number of updates after which the state is also written within an epoch; None writes it only after
            each epoch.
        trackers: Names of Accelerate's trackers, such as "tensorboard" (in `logs/` of the folder). They receive each
            row of the history.
        progress: Whether to show a progress bar on a terminal, or one line per epoch elsewhere.

    Returns:
        The history, the best epoch, the folder and the history of the flow's training.

    Raises:
        TypeError: The rows have no `batches`, for example because they are in a DataLoader.
        ValueError: An argument is out of range, the folder has a run and `resume` is False, the run in the folder
            differs from this one, or another process trains in the folder.
        OSError: The folder cannot be written; earlier files are unchanged.
        FloatingPointError: The loss became infinite or NaN; the message names the modality and the step. The model has
            the weights of the best epoch up to then.
        Stopped: Ctrl-C or SIGTERM stopped training (a `KeyboardInterrupt`); the run can be resumed.
        GoneError: Another process of the run has ended; the message says from which state to resume.

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
    settings = FitSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        learning_rate_warmup=learning_rate_warmup,
        weight_decay=weight_decay,
        accumulate=accumulate,
        clip=clip,
        ema=ema,
        warmup=warmup,
        patience=patience,
        prior_epochs=prior_epochs,
        only=only,
        seed=seed,
        device=device,
        precision=precision,
        compile=compile,
        save_every=save_every,
        trackers=trackers,
    )
    check_settings(**vars(settings), folder=folder, resume=resume)
    settings, folder = settings.to_python(), None if folder is None else Path(folder)
    check_rows(train, validation, model.schema)
    if settings.only == "prior":
        model.enable_flow()
    with (
        Stop(caught=folder is not None) as stop,
        open_run(model, train, validation, settings, folder, stop, resume=resume, progress=progress) as run,
    ):
        run.begin()
        if settings.only is None:
            run.train_autoencoder()
        if model.samples_by_flow:
            run.train_prior()
        run.calibrate(validation)
    prior_history = pd.DataFrame([] if run.prior is None else run.prior.history)
    return Fit(pd.DataFrame(run.state.history), run.state.best.epoch, folder, prior_history)


def check_settings(**settings: Any) -> None:
    """Checks the types and ranges of arguments of `fit`.

    Arguments:
        **settings: Any arguments of `fit` except the model and the rows.

    Raises:
        ValueError: An argument is invalid; the message names the first one.

    Example:
        >>> check_settings(epochs=30, clip=1.0)
        >>> check_settings(epochs=0)
        Traceback (most recent call last):
        ValueError: epochs must be positive and below 2^63; got 0
    """
    check_types(settings, fit, "fit")
    complete = complete_settings(**settings)
    if "folder" in settings:
        check_folder(settings["folder"], complete, resume=settings.get("resume", False))
    check_ranges(complete)


def complete_settings(**settings: Any) -> FitSettings:
    """Returns settings with the given values, and the defaults of `fit` for all others."""
    defaults = {name: parameter.default for name, parameter in signature(fit).parameters.items()}
    return FitSettings(**{field.name: {**defaults, **settings}[field.name] for field in fields(FitSettings)})
