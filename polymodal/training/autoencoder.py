"""First phase of training: the epochs of a model, which is an autoencoder of any kind."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch

from polymodal.batch import Batch
from polymodal.models.base import Model, evaluating
from polymodal.runtime import distributed
from polymodal.runtime.seeding import derive_seed, let_others_run, seed_streams
from polymodal.table.table import steps
from polymodal.training.display import TrainingProgress
from polymodal.training.fit_settings import FitSettings
from polymodal.training.graphs import Recorder
from polymodal.training.means import Terms
from polymodal.training.records import Records
from polymodal.training.run_state import Best, RunState
from polymodal.training.schedule import Schedule
from polymodal.training.step import Step, sample_plan
from polymodal.training.stopping import Stop

if TYPE_CHECKING:
    from accelerate import Accelerator

    from polymodal.table.table import Table

__all__ = ["AutoencoderTraining"]

FAR = 2
"""Ratio of the mean norm of the codes to that of prior samples above which a warning is issued."""


class AutoencoderTraining:
    """The training of a model in epochs, and its state.

    Arguments:
        model: Model to train, on the accelerator's device.
        accelerator: Accelerate's `Accelerator`.
        train: Training rows.
        validation: Rows that determine the best epoch.
        settings: Settings of the run.
        records: Files of the run, to which the state and the history are written.
        stop: Requests to stop.
        shown: Progress display.

    Attributes:
        step: Training step, which updates the weights.
        state: Everything that is needed to resume.
        steps: Number of steps per epoch.
        updates: Number of updates in all epochs.
    """

    def __init__(
        self,
        model: Model,
        accelerator: Accelerator,
        train: Table,
        validation: Table,
        settings: FitSettings,
        records: Records,
        stop: Stop,
        shown: TrainingProgress,
    ) -> None:
        self.model, self.accelerator, self.device = model, accelerator, accelerator.device
        self.train, self.validation, self.settings = train, validation, settings
        self.records, self.stop, self.shown = records, stop, shown
        self.steps = steps(len(train), settings.batch_size)
        updates = -(-self.steps // settings.accumulate)  # per epoch
        self.updates = settings.epochs * updates
        # Arguments of `batches` that select the rows of this process.
        self.share: dict[str, Any] = (
            {"share": (distributed.rank(), distributed.world_size())} if distributed.world_size() > 1 else {}
        )
        best = Best(model)
        self.step = Step(model, accelerator, settings, Recorder.of(accelerator))
        self.validated = model if self.step.average is None else cast("Model", self.step.average.module)
        warmup = settings.learning_rate_warmup * updates
        schedule = Schedule(self.step.adam, settings.schedule, warmup, self.updates)
        self.state = RunState(best, self.step, schedule, warmup=settings.warmup)
        self.has_warned = False

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or `patience` epochs have passed without improvement."""
        patience, best = self.settings.patience, self.state.best.epoch
        waited = len(self.state.history) - best
        return self.state.epoch > self.settings.epochs or bool(patience and best and waited >= patience)

    def run(self) -> None:
        """Runs the remaining epochs, from the current step on, or until asked to stop.

        Raises:
            FloatingPointError: The loss became infinite or NaN.
        """
        while not (self.is_over or self.stop.is_requested()):
            self._run_epoch()

    def _run_epoch(self) -> None:
        """Runs the rest of the current epoch (training, validation, history, state); returns early if asked to stop."""
        began = time.perf_counter() - self.state.seconds
        self._take_steps(began)
        validation = self._validate()
        self.state.seconds = time.perf_counter() - began
        if validation is None:
            return
        epoch = self.state.epoch
        row = {
            "epoch": epoch,
            "seconds": self.state.seconds,
            "learning_rate": self.step.adam.param_groups[0]["lr"],
            **self.state.means.compute(),
            **validation,
            **self.model.constants,
        }
        self._warn_of_codes(row)
        better = self.state.end_epoch(row, self.validated)
        self.accelerator.log({name: value for name, value in row.items() if name != "epoch"}, step=epoch)
        if self.records.folder is not None:
            self.records.save(*self.state.collect())
        self.records.publish(self.state.history, self.state.best.weights if better else None)
        self.shown.show_epoch(epoch, row["train/total"], row["validation/total"], best=better)

    def _take_steps(self, began: float) -> None:
        """Takes the remaining steps of the current epoch; returns early if asked to stop."""
        state, settings = self.state, self.settings
        self.step.wrapped.train()
        progress = min(1.0, state.epoch / max(settings.warmup, 1))  # of the warm-up of the penalty weight
        rows = 0  # rows of the current update
        batches = self.train.batches(
            settings.batch_size,
            seed=settings.seed,
            epoch=state.epoch,
            start=state.step,
            device=self.device,
            **self.share,
        )
        for batch in batches:
            rows += batch.total
            due = (state.step + 1) % settings.accumulate == 0
            if due:
                state.schedule.set_rate(state.update)
            with self._share_batch(batch, state.epoch, state.step):
                terms = self.step(batch, progress, rows if due else 0)
            state.means.add(terms, batch.total, batch.counted)
            state.step += 1
            self.shown.advance()
            let_others_run(self.device)
            if due:
                rows = 0
                if self._end_update(began):
                    return
        if rows:
            state.schedule.set_rate(state.update)
            self.step.update(rows)
            state.update += 1
        state.means.find_trouble()
        self.stop.is_requested(state.means)

    def _end_update(self, began: float) -> bool:
        """Counts an update, and writes the state if it is due; returns whether to stop."""
        self.state.update += 1
        self.state.seconds = time.perf_counter() - began
        distributed.align_streams(self.device)
        if self.stop.is_requested(self.state.means):
            return True
        if self.settings.save_every and self.state.update % self.settings.save_every == 0:
            self.records.save(*self.state.collect())
        return False

    def _share_batch(self, batch: Batch, epoch: int, step: int) -> AbstractContextManager[None]:
        """Returns a context in which a model processes its part of a batch that several processes may share."""
        if batch.whole is None:
            return nullcontext()
        start, noise = batch.whole.start, derive_seed(self.settings.seed, epoch, step, distributed.rank())
        return distributed.set_local_rows(start, start + len(batch), batch.total, self.device, noise)

    def _validate(self) -> dict[str, float] | None:
        """Returns the mean loss terms over the validation rows, or None if asked to stop.

        Every call uses the full penalty weight and the same random numbers.
        """
        means, model = self.state.make_means("validation"), self.validated
        with (
            seed_streams(self.settings.seed, self.device),
            evaluating(model),
            torch.no_grad(),
            self.accelerator.autocast(),
        ):
            batches = self.validation.batches(self.settings.batch_size, device=self.device, **self.share)
            for step, batch in enumerate(batches):
                if self.stop.is_requested(means):
                    return None
                with self._share_batch(batch, 0, step):
                    terms = Terms.of(model(batch, plan=sample_plan(model, batch)))
                means.add(terms, batch.total, batch.counted)
        means.find_trouble()
        self.stop.is_requested(means)
        return means.compute()

    def _warn_of_codes(self, row: Mapping[str, float]) -> None:
        """Warns once if the codes are far from the prior, because unconditional samples are then unlike the data."""
        norm, prior = (row.get(name, math.nan) for name in ("validation/codes/norm", "prior_norm"))
        epoch = self.state.epoch
        if self.has_warned or epoch < self.settings.warmup or distributed.rank() or not norm > FAR * prior:
            return
        self.has_warned = True
        beta = self.model.arguments.get("beta", math.nan)
        warnings.warn(
            f"the codes are far from the prior: after epoch {epoch} their mean norm is {norm:.1f}, and that of "
            f"samples from the prior is {prior:.1f}; unconditional samples will be poor; raise beta (it is {beta:g}) "
            "or build with regularizer='sliced' and relative=True",
            RuntimeWarning,
            stacklevel=6,
        )
