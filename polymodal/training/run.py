"""A training run and its two phases: first the autoencoder, then, if a flow samples the codes, the flow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

from polymodal.inference.calibration import calibrate
from polymodal.models.base import Model, tell_untrained
from polymodal.runtime import distributed
from polymodal.training.autoencoder import AutoencoderTraining
from polymodal.training.display import TrainingProgress
from polymodal.training.fit_settings import FitSettings
from polymodal.training.linear_path import fit_linear_path
from polymodal.training.prior import PriorTraining, count_prior_epochs
from polymodal.training.records import Records, State
from polymodal.training.run_state import split_state
from polymodal.training.state import copy_weights
from polymodal.training.stopping import Stop, Stopped

if TYPE_CHECKING:
    from accelerate import Accelerator

    from polymodal.models import MAC
    from polymodal.table.table import Table

__all__ = ["Run"]


class Run:
    """A training run.

    Arguments:
        model: Model to train, on the accelerator's device.
        accelerator: Accelerate's `Accelerator`.
        train: Training rows.
        validation: Rows that determine the best epoch.
        settings: Settings of the run.
        records: Files of the run, to which the state is written.
        stop: Requests to stop.
        shown: Progress display.

    Attributes:
        autoencoder: First phase.
        state: State of the first phase, with the history and the best weights.
        prior: Second phase; None before it starts.
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
        self.model, self.accelerator = model, accelerator
        self.train, self.validation, self.settings = train, validation, settings
        self.records, self.stop, self.shown = records, stop, shown
        self.autoencoder = AutoencoderTraining(model, accelerator, train, validation, settings, records, stop, shown)
        self.state = self.autoencoder.state
        self.prior: PriorTraining | None = None
        self.prior_state: State | None = None  # state from which the second phase is resumed

    def begin(self) -> None:
        """Starts the trackers, and restores the state of the records if they have one.

        Raises:
            ValueError: The state does not match the run.
        """
        if self.records.untrained and not distributed.rank():
            warnings.warn(tell_untrained(self.records.untrained), RuntimeWarning, stacklevel=3)
        self.records.begin()
        state, self.records.state = self.records.state, None
        with distributed.share_errors():
            if self.accelerator.log_with:
                plain = {k: v if isinstance(v, int | float) else str(v) for k, v in vars(self.settings).items()}
                self.accelerator.init_trackers("polymodal", None if state else plain)
        if state is not None:
            first, self.prior_state = split_state(state)
            self.state.restore(self.records.path, first)
            self.records.publish(self.state.history, self.state.best.weights if self.state.best.epoch else None)
            self._show_resumed()

    def train_autoencoder(self) -> None:
        """Runs the first phase: trains the model in epochs, from the current step on.

        Raises:
            FloatingPointError: The loss became infinite or NaN.
            Stopped: Training was asked to stop; the state is written.
        """
        if not self.autoencoder.is_over:
            self.prior_state = None  # the codes change now, so a flow over them is out of date
        self.autoencoder.run()
        if self.stop.signal:
            self.records.save(*self.state.collect())
            self.records.publish(self.state.history, None)
            where = f"in epoch {self.state.epoch}, after {self.state.step} of its {self.autoencoder.steps} steps"
            raise self._make_stopped("at its end" if self.autoencoder.is_over else where)
        self._fit_linear_path()

    def _fit_linear_path(self) -> None:
        """Computes the linear path of the best epoch's model, if it has one, and publishes the model."""
        now = copy_weights(self.model)
        self.model.load_state_dict(self.state.best.weights)
        if fit_linear_path(self.model, self.train, self.validation):
            self.state.best.weights = copy_weights(self.model)
            self.records.publish(self.state.history, self.state.best.weights)
        self.model.load_state_dict(now)

    def train_prior(self) -> None:
        """Runs the second phase: trains a flow over the codes of the best epoch's autoencoder.

        Raises:
            FloatingPointError: The loss became infinite or NaN; the model then has no flow.
            Stopped: Training was asked to stop; the state is written.
        """
        first = self.state.copy()  # each state of the second phase contains that of the first
        self.model.load_state_dict(self.state.best.weights)
        try:
            self.prior = self._make_prior_training()
            if self.prior_state is not None:
                self.prior.restore(self.records.path, *self.prior_state)
            self._run_prior(self.prior, first)
        except BaseException:
            self.model.drop_flow()
            raise
        self.state.best.weights = copy_weights(self.model)
        self.records.publish_prior(self.prior.history, self.model)

    def calibrate(self, validation: Table) -> None:
        """Calibrates the intervals of the best epoch's model on all validation rows, and writes the result."""
        self._load_best()
        calibrate(self.model, validation)
        self.records.publish_calibration(self.model)

    def release(self) -> None:
        """Ends the trackers, reverts the changes of mixed precision, and loads the best weights into the model."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self._load_best()

    def _load_best(self) -> None:
        self.autoencoder.step.release()
        self.model.load_state_dict(self.state.best.weights)
        self.model.eval()

    def _show_resumed(self) -> None:
        """Shows from where the first phase is resumed, or that it is over."""
        if self.settings.only == "prior":
            return
        if not self.autoencoder.is_over:
            self.shown.show_resumed(self.state.epoch, self.state.step)
            return
        reason, setting = "", "epochs"
        if self.state.epoch <= self.settings.epochs:
            reason = f", because the best epoch is {self.state.best.epoch} and patience is {self.settings.patience}"
            setting = "patience"
        self.shown.say(
            f"this run is over, after {len(self.state.history)} epochs{reason}; raise {setting} to train further"
        )

    def _make_prior_training(self) -> PriorTraining:
        epochs = self.settings.prior_epochs
        if epochs is None:
            epochs = count_prior_epochs(len(self.train), self.autoencoder.updates)
        return PriorTraining(
            cast("MAC", self.model),
            self.train,
            self.validation,
            epochs=epochs,
            seed=self.settings.seed,
            device=self.accelerator.device,
            precision=self.settings.precision,
        )

    def _run_prior(self, prior: PriorTraining, first: State) -> None:
        """Trains the flow, and writes its state with that of the first phase."""

        def save() -> None:
            tensors, document = prior.state()
            self.records.save({**first[0], **tensors}, {**first[1], "prior": document})
            self.records.publish_prior(prior.history, None)

        if prior.is_over:
            self.shown.say(f"the prior is trained already, in {prior.step} steps")
        else:
            prior.run(self.stop.is_requested, save, self.shown)
        if self.stop.signal:
            save()
            raise self._make_stopped(f"in the training of the prior, after {prior.step} steps")
        prior.finish()

    def _make_stopped(self, where: str) -> Stopped:
        message = f"training stopped {where}, and its state is written"
        return Stopped(message, self.records.folder, self.stop.signal or 0)
