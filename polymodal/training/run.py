"""A training run: passes over tables, and the state that is needed to resume."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models.base import Model, evaluating
from polymodal.runtime import distributed
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import give_way, number, restore_streams, seed_streams, streams
from polymodal.table.table import steps
from polymodal.training.graphs import Recorder
from polymodal.training.means import Means, Terms
from polymodal.training.prior import PriorTraining, prior_epochs
from polymodal.training.records import Records, State
from polymodal.training.schedule import Schedule
from polymodal.training.state import check_document, check_state
from polymodal.training.step import Step, sample_plan
from polymodal.training.stopping import Stop, Stopped

if TYPE_CHECKING:
    from accelerate import Accelerator

    from polymodal.models import MAC
    from polymodal.table.table import Table
    from polymodal.training.display import TrainingProgress

__all__ = ["Run"]


FAR = 2
"""Ratio of the mean norm of the codes to that of prior samples above which a warning is issued."""

READ_BACK = 50
"""Steps between checks on a GPU that the loss is finite."""


class Run:
    """The training loop and its state: epoch, step within the epoch, weights, optimiser, random states, history.

    Arguments:
        model: Model to train, on the accelerator's device.
        accelerator: Accelerate's `Accelerator`.
        train: Training rows.
        validation: Rows that determine the best epoch.
        records: Files of the run, to which the state is written.
        settings: Arguments of `fit`.
    """

    def __init__(
        self,
        model: Model,
        accelerator: Accelerator,
        train: Table,
        validation: Table,
        records: Records,
        settings: Mapping[str, Any],
    ) -> None:
        self.accelerator, self.device, self.records = accelerator, accelerator.device, records
        self.settings = settings
        self.rows, self.held_out = train, validation
        self.batch_size, self.seed, self.epochs = (settings[name] for name in ("batch_size", "seed", "epochs"))
        self.warmup, self.patience = settings["warmup"], settings["patience"]
        self.accumulate, self.save_every = settings["accumulate"], settings["save_every"]
        self.epoch, self.step, self.update, self.seconds = 1, 0, 0, 0.0
        self.place: dict[str, Any] = (
            {"share": (distributed.rank(), distributed.world())} if distributed.world() > 1 else {}
        )
        self.history: list[dict[str, float]] = []
        self.warned = False
        self.only_prior = settings["only"] == "prior"
        self.prior_state: State | None = None
        self.prior: PriorTraining | None = None
        self.best = Best(model)
        self.means = self._means("train")
        self.own = self.judged = model
        self.one_step = Step(model, accelerator, settings, Recorder.of(accelerator))
        self.model, self.adam, self.average = self.one_step.model, self.one_step.adam, self.one_step.average
        if self.average is not None:
            self.judged = cast("Model", self.average.module)
        updates = -(-steps(len(train), self.batch_size) // self.accumulate)  # per epoch
        warmup = settings["learning_rate_warmup"] * updates
        self.schedule = Schedule(self.adam, settings["schedule"], warmup, self.epochs * updates)

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or `patience` epochs have passed without improvement."""
        waited = len(self.history) - self.best.epoch
        return (
            self.only_prior
            or self.epoch > self.epochs
            or bool(self.patience and self.best.epoch and waited >= self.patience)
        )

    def one_epoch(self, stop: Stop, shown: TrainingProgress) -> None:
        """Runs the rest of the current epoch (training, validation, history, state); returns early if asked to stop."""
        began = time.perf_counter() - self.seconds
        self.prior_state = None  # the codes change now, so a flow over them is out of date
        self._train(stop, shown, began)
        validation = self._validate(stop)
        self.seconds = time.perf_counter() - began
        if validation is None:
            return
        rate = self.adam.param_groups[0]["lr"]
        row = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "learning_rate": rate,
            **self.means.compute(),
            **validation,
            **self.own.constants,
        }
        self._warn_of_codes(row)
        better = self.epoch >= self.warmup and self.best.offer(self.epoch, row["validation/total"], self.judged)
        self.history.append(row)
        self.schedule.after_epochs([row["validation/total"]])
        self.accelerator.log({name: value for name, value in row.items() if name != "epoch"}, step=self.epoch)
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.means = self._means("train")
        self.records.save(*self.state())
        self.records.publish(self.history, self.best.weights if better else None)
        shown.epoch(len(self.history), row["train/total"], row["validation/total"], best=better)

    def train_prior(self, stop: Stop, shown: TrainingProgress) -> None:
        """Runs the second phase: trains a flow over the codes of the best epoch's autoencoder.

        Raises:
            FloatingPointError: The loss became infinite or NaN; the model then has no flow.
            Stopped: Training was asked to stop; the state is written.
        """
        ended = self._copy_state()
        self.own.load_state_dict(self.best.weights)
        try:
            self.prior = self._make_prior_training()
            if self.prior_state is not None:
                self.prior.restore(self.records.path, *self.prior_state)
            if self.prior.over:
                shown.say(f"the prior is trained already, in {self.prior.step} steps")
            else:
                self.prior.run(partial(self.stopping, stop), partial(self._save_prior, ended), shown)
            if stop.asked:
                self._save_prior(ended)
                raise self._make_stopped(stop, f"in the training of the prior, after {self.prior.step} steps")
            self.prior.finish()
        except BaseException:
            self.own.drop_flow()
            raise
        self.best.weights = _copy(self.own)
        self.records.publish_prior(self.prior.history, self.own)

    def _make_prior_training(self) -> PriorTraining:
        updates = self.epochs * -(-steps(len(self.rows), self.batch_size) // self.accumulate)
        epochs = self.settings["prior_epochs"]
        return PriorTraining(
            cast("MAC", self.own),
            self.rows,
            self.held_out,
            epochs=prior_epochs(len(self.rows), updates) if epochs is None else epochs,
            seed=self.seed,
            device=self.device,
            precision=self.settings["precision"],
        )

    def _copy_state(self) -> State:
        """Returns a copy of the state at the end of the first phase, which the second phase does not change."""
        tensors, document = self.state()
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}, document

    def _save_prior(self, ended: State) -> None:
        if self.prior is not None:
            tensors, document = self.prior.state()
            self.records.save({**ended[0], **tensors}, {**ended[1], "prior": document})
            self.records.publish_prior(self.prior.history, None)

    def state(self) -> State:
        """Returns everything that is needed to resume; call it between two updates only.

        Raises:
            FloatingPointError: The loss has become infinite or NaN since the last check.
        """
        with distributed.together():
            self.means.check()
        adam = self.adam.state_dict()["state"]
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.own.state_dict(),
            "best": self.best.weights,
            "average": {} if self.average is None else self.average.state_dict(),
            "optimizer": {f"{i}/{name}": value for i, values in adam.items() for name, value in values.items()},
            "means": self.means.sums,
            "random": streams(self.device),
        }
        tensors = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        scaler = self.accelerator.scaler
        return tensors, {
            "epoch": self.epoch,
            "step": self.step,
            "update": self.update,
            "seconds": self.seconds,
            "terms": list(self.means.names),
            "rows": self.means.rows,
            "history": self.history,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def begin(self, shown: TrainingProgress) -> None:
        """Starts the trackers, and restores the state of the records if they have one.

        Raises:
            ValueError: The state does not match the run.
        """
        self.records.begin()
        state, self.records.state = self.records.state, None
        with distributed.together():
            if self.accelerator.log_with:
                plain = {k: v if isinstance(v, int | float) else str(v) for k, v in self.settings.items()}
                self.accelerator.init_trackers("polymodal", None if state else plain)
        if state is None:
            return
        start = self.best.weights
        state, self.prior_state = _without_prior(state)
        try:
            self._restore(*state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            self.best.weights = start
            raise ValueError(
                f"the state in {self.records.folder} must be of this run, and is damaged or edited: {brief(error)}; "
                "resume from a copy of it, or start in another folder"
            ) from error
        self.records.publish(self.history, self.best.weights if self.best.epoch else None)
        if self.over:
            shown.say(f"this run is over, after {len(self.history)} epochs{self._early()}")
        else:
            shown.resume(self.epoch, self.step)

    def leave(self, stop: Stop) -> None:
        """Writes the state and stops the run, which can then be resumed.

        Raises:
            Stopped: Always, after the state is written.
        """
        self.records.save(*self.state())
        self.records.publish(self.history, None)
        where = f"in epoch {self.epoch}, after {self.step} of its {steps(len(self.rows), self.batch_size)} steps"
        raise self._make_stopped(stop, "at its end" if self.over else where)

    def _make_stopped(self, stop: Stop, where: str) -> Stopped:
        return Stopped(f"training stopped {where}, and its state is written", self.records.folder, stop.asked or 0)

    def stopping(self, stop: Stop, means: Means | None = None) -> bool:
        """Returns whether any process was asked to stop; all processes must call it.

        Raises:
            FloatingPointError: The loss is not finite in one of the processes.
        """
        signal, trouble = distributed.all_reduce_max(stop.asked or 0, bool(means and means.trouble))
        if means and trouble:
            with distributed.together():
                means.check()
        stop.asked = signal or stop.asked
        return bool(signal)

    def release(self) -> None:
        """Ends the trackers, reverts the changes of mixed precision, and loads the best weights into the model."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.one_step.release()
        self.own.load_state_dict(self.best.weights)
        self.own.eval()

    def _warn_of_codes(self, row: Mapping[str, float]) -> None:
        """Warns once if the codes are far from the prior, because unconditional samples are then unlike the data."""
        norm, prior = (row.get(name, math.nan) for name in ("validation/codes/norm", "prior_norm"))
        if self.warned or self.epoch < self.warmup or distributed.rank() or not norm > FAR * prior:
            return
        self.warned = True
        beta = getattr(self.own, "beta", math.nan)
        warnings.warn(
            f"the codes have left the prior: after epoch {self.epoch} their mean norm is {norm:.1f}, and that of "
            f"samples from the prior is {prior:.1f}; unconditional samples will be poor; raise beta (it is {beta:g}) "
            "or build with regularizer='sliced' and relative=True",
            RuntimeWarning,
            stacklevel=4,
        )

    def _early(self) -> str:
        if self.epoch > self.epochs:
            return "; more epochs make it go on"
        return (
            f", for the best was epoch {self.best.epoch} and patience is {self.patience}; more patience makes it go on"
        )

    def _means(self, split: str, rows: int = 0, steps: int = 0) -> Means:
        return Means(split, self.epoch, rows, steps, every=1 if self.device.type == "cpu" else READ_BACK)

    def _train(self, stop: Stop, shown: TrainingProgress, began: float) -> None:
        self.model.train()
        anneal = min(1.0, self.epoch / max(self.warmup, 1))
        rows = 0  # rows of the current update
        batches = self.rows.batches(
            self.batch_size, seed=self.seed, epoch=self.epoch, start=self.step, device=self.device, **self.place
        )
        for batch in batches:
            rows += batch.total
            due = (self.step + 1) % self.accumulate == 0
            if due:
                self.schedule.before(self.update)
            with self._at_work(batch, self.epoch, self.step):
                terms = self.one_step(batch, anneal, rows if due else 0)
            self.means.add(terms, batch.total, batch.counted)
            self.step += 1
            shown.step()
            give_way(self.device)
            if due:
                self.update += 1
                rows = 0
                self.seconds = time.perf_counter() - began
                distributed.align_streams(self.device)
                if self.stopping(stop, self.means):
                    return
                if self.save_every and self.update % self.save_every == 0:
                    self.records.save(*self.state())
        if rows:
            self.schedule.before(self.update)
            self.one_step.update(rows)
            self.update += 1
        self.means.look()
        self.stopping(stop, self.means)

    def _at_work(self, batch: Batch, epoch: int, step: int) -> AbstractContextManager[None]:
        """Returns a context in which a model processes its part of a batch that several processes may share."""
        if batch.whole is None:
            return nullcontext()
        start, noise = batch.whole.start, number(self.seed, epoch, step, distributed.rank())
        return distributed.working(start, start + len(batch), batch.total, self.device, noise)

    def _validate(self, stop: Stop) -> dict[str, float] | None:
        """Returns the mean loss terms over the validation rows, or None if asked to stop.

        Every call uses the full penalty weight and the same random numbers.
        """
        means = self._means("validation")
        with (
            seed_streams(self.seed, self.device),
            evaluating(self.judged),
            torch.no_grad(),
            self.accelerator.autocast(),
        ):
            batches = self.held_out.batches(self.batch_size, device=self.device, **self.place)
            for step, batch in enumerate(batches):
                if self.stopping(stop, means):
                    return None
                with self._at_work(batch, 0, step):
                    terms = Terms.of(self.judged(batch, plan=sample_plan(self.judged, batch)))
                means.add(terms, batch.total, batch.counted)
        means.look()
        self.stopping(stop, means)
        return means.compute()

    def _restore(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        check_document(document)
        parameters = self.adam.param_groups[0]["params"]
        check_state(self.records.path, tensors, self.state()[0], parameters, document["terms"])
        parts, history = _parts(tensors), document["history"]
        self.schedule.after_epochs([row["validation/total"] for row in history])
        self._restore_optimizer(parts.get("optimizer", {}))
        restore_streams(parts["random"], self.device)
        if self.accelerator.scaler is not None and document["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(document["scaler"])
        if self.average is not None:
            self.average.load_state_dict(parts["average"])
        self.own.load_state_dict(parts["best"])
        self.best.restore(self.own, [row for row in history if row["epoch"] >= self.warmup])
        self.own.load_state_dict(parts["model"])
        self.history, self.seconds = history, document["seconds"]
        self.epoch, self.step, self.update = document["epoch"], document["step"], document["update"]
        self.schedule.before(max(self.update - 1, 0))
        self.means = self._means("train", document["rows"], self.step)
        self.means.sums = {name: parts["means"][name].to(self.device) for name in document["terms"]}

    def _restore_optimizer(self, values: Mapping[str, Tensor]) -> None:
        groups = self.adam.state_dict()["param_groups"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in values.items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = value
        self.adam.load_state_dict({"state": state, "param_groups": groups})


class Best:
    """The weights of the best epoch; until there is one, the initial weights.

    Arguments:
        model: Model with the initial weights.
    """

    def __init__(self, model: Model) -> None:
        self.epoch, self.loss, self.weights = 0, math.inf, _copy(model)

    def restore(self, model: Model, history: list[dict[str, float]]) -> None:
        """Copies the weights of a model as those of the best epoch in a history."""
        self.weights = _copy(model)
        for row in history:
            if row["validation/total"] < self.loss:
                self.epoch, self.loss = int(row["epoch"]), row["validation/total"]

    def offer(self, epoch: int, loss: float, model: Model) -> bool:
        """Copies the weights if their loss is the lowest so far; returns whether it is."""
        if better := loss < self.loss:
            self.epoch, self.loss, self.weights = epoch, loss, _copy(model)
        return better


def _copy(model: Model) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _without_prior(state: State) -> tuple[State, State | None]:
    """Splits a state into that of the first phase and that of the second phase, None if it has not started."""
    tensors, document = state
    if not isinstance(document.get("prior"), dict):
        return state, None
    second = {name: tensor for name, tensor in tensors.items() if name.startswith("prior/")}
    first = {name: tensor for name, tensor in tensors.items() if name not in second}
    return (first, {name: value for name, value in document.items() if name != "prior"}), (second, document["prior"])


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    return parts
