"""The training loop: one for every model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.models.base import Loss, Model, evaluating
from polymodal.table import steps
from polymodal.training.balance import balance
from polymodal.training.progress import TrainingProgress
from polymodal.training.records import Records

if TYPE_CHECKING:
    import pandas as pd
    from accelerate import Accelerator

    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = ["Fit", "check_device", "fit"]


@dataclass(frozen=True)
class Fit:
    """What became of a training run."""

    history: pd.DataFrame
    """A row per epoch: `epoch`, `seconds`, and every term of the loss as `train/<term>`, `validation/<term>`."""
    best_epoch: int
    """The epoch whose weights are now in the model, from 1."""
    folder: Path | None
    """Where the run was written."""


def fit(
    model: Model,
    train: Table,
    validation: Table,
    *,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 5e-4,
    weight_decay: float = 1e-5,
    warmup: int = 0,
    patience: int | None = None,
    clip: float | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Fit:
    """Trains a model and leaves the weights of its best epoch, by validation loss, in it.

    The optimiser is Adam with coupled weight decay. Validation takes the full penalty and the same random draws
    every epoch. PyTorch's global random state is left as it was.

    Arguments:
        model: To train; it is moved to the device.
        train: A table, or anything with its `len` and `batches`.
        validation: Likewise.
        epochs: Passes over the training rows, at least `warmup`.
        batch_size: Rows per step.
        learning_rate: Adam's.
        weight_decay: Adam's, coupled; 1e-5 in the paper.
        warmup: Epochs over which the penalty's weight rises to its full value; none before counts as best.
        patience: Stop after so many epochs without a better one; None never stops early.
        clip: Largest norm of the gradient; None clips nothing.
        seed: Of everything that is drawn from here on: order of the rows, conditioning, noise, dropout.
        device: "cpu", "cuda", or "auto", which takes a CUDA GPU if there is one.
        precision: "bf16" or "fp16" where the device has it; by default 32 bits.
        folder: Of the run: `model/` (the best epoch's), `history.csv`, `experiment.json`. None writes nothing.
        progress: Whether to show a bar on a terminal, and a line per epoch elsewhere.

    Returns:
        The history, the best epoch and the folder.

    Raises:
        TypeError: The rows are in something without `batches`, such as a DataLoader.
        ValueError: An argument is out of its range, or the folder holds a run already.
        FloatingPointError: The loss became infinite or NaN; names the modality and the step. The model keeps
            the weights of the best epoch until then.

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

    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup": warmup,
        "patience": patience,
        "clip": clip,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    for name, rows in {"train": train, "validation": validation}.items():
        _check_rows(name, rows, model.schema)
    _check_numbers(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, patience=patience, clip=clip)
    if epochs < warmup:
        raise ValueError(f"epochs must be at least warmup ({warmup}), for no epoch before counts; got {epochs}")
    accelerator = _accelerator(device, precision)
    records = Records(folder, model, train, settings)
    model.to(accelerator.device)
    balance(model, train)
    loop = _Loop(model, accelerator, batch_size, learning_rate, weight_decay, clip, seed)
    best = _Best(model)
    try:
        with (
            _seeded(seed, accelerator.device),
            TrainingProgress(epochs, steps(len(train), batch_size), shown=progress) as shown,
        ):
            for epoch in range(1, epochs + 1):
                began = time.perf_counter()
                row = loop.train(train, epoch, min(1.0, epoch / max(warmup, 1)), shown) | loop.validate(
                    validation, epoch
                )
                better = epoch >= warmup and best.offer(epoch, row["validation/total"])
                records.add({"epoch": epoch, "seconds": time.perf_counter() - began, **row}, best=better)
                shown.epoch(epoch, row["train/total"], row["validation/total"], best=better)
                if patience is not None and best.epoch and epoch - best.epoch >= patience:
                    break
    finally:
        loop.release()
        best.restore()
    return Fit(pd.DataFrame(records.rows), best.epoch, records.folder)


class _Loop:
    """Passes over tables."""

    def __init__(
        self,
        model: Model,
        accelerator: Accelerator,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        clip: float | None,
        seed: int,
    ) -> None:
        self.accelerator, self.batch_size, self.clip, self.seed = accelerator, batch_size, clip, seed
        self.device = accelerator.device
        fused = self.device.type in ("cpu", "cuda")
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=fused)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)

    def train(self, table: Table, epoch: int, anneal: float, shown: TrainingProgress) -> dict[str, float]:
        """One epoch; the mean terms of the loss."""
        means = _Means("train", epoch)
        self.model.train()
        for batch in table.batches(self.batch_size, seed=self.seed, epoch=epoch, device=self.device):
            loss = self.model(batch, progress=anneal)
            means.add(loss, len(batch))
            self.optimizer.zero_grad()
            self.accelerator.backward(loss.total)
            if self.clip is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
            shown.step()
        return means.compute()

    def validate(self, table: Table, epoch: int) -> dict[str, float]:
        """One pass with the full penalty and the same random draws at every call; the mean terms of the loss."""
        means = _Means("validation", epoch)
        with _seeded(self.seed, self.device), evaluating(self.model), torch.no_grad():
            for batch in table.batches(self.batch_size, device=self.device):
                means.add(self.model(batch), len(batch))
        return means.compute()

    def release(self) -> None:
        """Undoes what mixed precision has done to the model."""
        vars(self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)).pop("forward", None)


class _Means:
    """Means over rows of every term of the loss, which must stay finite."""

    def __init__(self, split: str, epoch: int) -> None:
        self.split, self.epoch = split, epoch
        self.rows, self.steps = 0, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, loss: Loss, rows: int) -> None:
        self.steps += 1
        terms = {name: term.detach() for name, term in {**loss.terms, "total": loss.total}.items()}
        if not terms["total"].isfinite():
            raise FloatingPointError(self._trouble(terms))
        self.rows += rows
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + term * rows

    def compute(self) -> dict[str, float]:
        return {f"{self.split}/{name}": float(total) / self.rows for name, total in self.sums.items()}

    def _trouble(self, terms: dict[str, Tensor]) -> str:
        wrong = ", ".join(f"{name} is {float(term)}" for name, term in terms.items() if not term.isfinite())
        return (
            f"the {self.split} loss must stay finite; in epoch {self.epoch}, step {self.steps}, {wrong}; "
            "the model keeps its best weights until then; lower learning_rate or set clip, and look at the values "
            "of what is named here"
        )


class _Best:
    """The weights of the best epoch."""

    def __init__(self, model: Model) -> None:
        self.model, self.epoch, self.loss = model, 0, math.inf
        self.weights = self._copy()

    def offer(self, epoch: int, loss: float) -> bool:
        """Keeps the weights if their loss is the lowest yet."""
        if better := loss < self.loss:
            self.epoch, self.loss, self.weights = epoch, loss, self._copy()
        return better

    def restore(self) -> None:
        self.model.load_state_dict(self.weights)
        self.model.eval()

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's random streams seeded within, and as they were afterwards."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def check_device(device: str) -> None:
    """Refuses a device that is not at hand.

    Raises:
        ValueError: Names those that are.
    """
    devices = ["auto", "cpu", "cuda"] if torch.cuda.is_available() else ["auto", "cpu"]
    if device not in devices:
        raise ValueError(f"device must be one of those at hand, {', '.join(devices)}; got {device!r}")


def _accelerator(device: str, precision: str | None) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    check_device(device)
    if precision not in (None, "bf16", "fp16"):
        raise ValueError(f"precision must be None, 'bf16' or 'fp16'; got {precision!r}")
    cpu = device == "cpu" or not torch.cuda.is_available()
    if precision == "fp16" and cpu:
        raise ValueError("precision 'fp16' needs a CUDA GPU, and the device is the CPU; use 'bf16' or None")
    AcceleratorState._reset_state(reset_partial_state=True)  # else the choices of an earlier call would stay
    return Accelerator(cpu=cpu, mixed_precision=precision or "no")


def _check_rows(name: str, rows: Any, schema: Schema) -> None:
    if not (hasattr(rows, "batches") and hasattr(rows, "__len__")):
        raise TypeError(
            f"{name} must be a Table, or have its len and batches; got {type(rows).__name__}; "
            "put the rows in tensors and pass polymodal.Table(values, observed, schema)"
        )
    if not len(rows):
        raise ValueError(f"{name} must have rows; got none")
    if hasattr(rows, "schema"):
        schema.require(rows.schema, name)


def _check_numbers(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise ValueError(f"{name} must be positive; got {number}")
        if name in ("epochs", "batch_size", "patience") and number is not None and number != int(number):
            raise ValueError(f"{name} must be a whole number; got {number}")
