"""State of the first phase of a training run: what is saved, and how it is restored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from polymodal.models.base import Model
from polymodal.runtime import distributed
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import get_random_states, restore_random_states
from polymodal.training.means import Means
from polymodal.training.records import State
from polymodal.training.schedule import Schedule
from polymodal.training.state import check_document, check_state, copy_weights
from polymodal.training.step import Step

__all__ = ["Best", "RunState", "split_state"]

READ_BACK = 50
"""Steps between checks on a GPU that the loss is finite."""


class Best:
    """The weights of the best epoch; until there is one, the initial weights.

    Arguments:
        model: Model with the initial weights.
    """

    def __init__(self, model: Model) -> None:
        self.epoch, self.loss, self.weights = 0, math.inf, copy_weights(model)

    def restore(self, model: Model, history: list[dict[str, float]]) -> None:
        """Copies the weights of a model as those of the best epoch in a history."""
        self.weights = copy_weights(model)
        for row in history:
            if row["validation/total"] < self.loss:
                self.epoch, self.loss = int(row["epoch"]), row["validation/total"]

    def offer(self, epoch: int, loss: float, model: Model) -> bool:
        """Copies the weights if their loss is the lowest so far; returns whether it is."""
        if better := loss < self.loss:
            self.epoch, self.loss, self.weights = epoch, loss, copy_weights(model)
        return better


class RunState:
    """Position in the run, weights, optimiser, random states, means of the loss terms and history.

    Arguments:
        best: Weights of the best epoch, which are still the initial weights.
        train_step: Training step, whose model, optimiser and averaged weights are part of the state.
        schedule: Learning rate schedule, which is determined by the position and the history.
        warmup: Number of the first epoch that can be the best.

    Attributes:
        epoch: Number of the current epoch, from 1.
        step: Number of steps taken in the current epoch.
        update: Number of updates taken in all epochs.
        seconds: Time spent in the current epoch.
        means: Means of the loss terms over the current epoch.
        history: One row per epoch that has ended.
    """

    def __init__(self, best: Best, train_step: Step, schedule: Schedule, *, warmup: int) -> None:
        self.best, self.train_step, self.schedule, self.warmup = best, train_step, schedule, warmup
        self.device = train_step.accelerator.device
        self.epoch, self.step, self.update, self.seconds = 1, 0, 0, 0.0
        self.history: list[dict[str, float]] = []
        self.means = self.make_means("train")

    def make_means(self, split: str, rows: int = 0, steps: int = 0) -> Means:
        """Returns new means of the loss terms for the current epoch; see `Means` for the arguments."""
        return Means(split, self.epoch, rows, steps, every=1 if self.device.type == "cpu" else READ_BACK)

    def end_epoch(self, row: dict[str, float], model: Model) -> bool:
        """Adds the history row of the current epoch, and moves on to the next epoch.

        Arguments:
            row: History row.
            model: Model with the weights that were validated.

        Returns:
            Whether the epoch is the best so far.
        """
        loss = row["validation/total"]
        better = self.epoch >= self.warmup and self.best.offer(self.epoch, loss, model)
        self.history.append(row)
        self.schedule.add_losses([loss])
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.means = self.make_means("train")
        return better

    def collect(self) -> State:
        """Returns everything that is needed to resume; call it between two updates only.

        Raises:
            FloatingPointError: The loss has become infinite or NaN since the last check.
        """
        with distributed.share_errors():
            self.means.check()
        step = self.train_step
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": step.model.state_dict(),
            "best": self.best.weights,
            "average": {} if step.average is None else step.average.state_dict(),
            "optimizer": step.weights.read_state(step.adam),
            "means": self.means.sums,
            "random": get_random_states(self.device),
        }
        tensors = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        scaler = step.accelerator.scaler
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

    def copy(self) -> State:
        """Returns the same as `collect`, in tensors of its own that further training does not change."""
        tensors, document = self.collect()
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}, document

    def restore(self, path: Path, state: State) -> None:
        """Restores a state that `collect` returned.

        Arguments:
            path: State file, for the message.
            state: Tensors and JSON document.

        Raises:
            ValueError: The state does not match the run.
        """
        start = self.best.weights
        try:
            self._restore(path, *state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            self.best.weights = start
            raise ValueError(
                f"the state in {path} must be that of this run, and is damaged or edited: {brief(error)}; "
                "resume from a copy of it, or train in another folder"
            ) from error

    def _restore(self, path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        step, model = self.train_step, self.train_step.model
        check_document(document)
        check_state(path, tensors, self.collect()[0], step.weights.parameters, document["terms"])
        parts, history = _split_tensors(tensors), document["history"]
        self.schedule.add_losses([row["validation/total"] for row in history])
        step.weights.restore_state(step.adam, parts.get("optimizer", {}))
        restore_random_states(parts["random"], self.device)
        if step.accelerator.scaler is not None and document["scaler"] is not None:
            step.accelerator.scaler.load_state_dict(document["scaler"])
        if step.average is not None:
            step.average.load_state_dict(parts["average"])
        model.load_state_dict(parts["best"])
        self.best.restore(model, [row for row in history if row["epoch"] >= self.warmup])
        model.load_state_dict(parts["model"])
        self.history, self.seconds = history, document["seconds"]
        self.epoch, self.step, self.update = document["epoch"], document["step"], document["update"]
        self.schedule.set_rate(max(self.update - 1, 0))
        self.means = self.make_means("train", document["rows"], self.step)
        self.means.sums = {name: parts["means"][name].to(self.device) for name in document["terms"]}


def split_state(state: State) -> tuple[State, State | None]:
    """Splits a state into that of the first phase and that of the second phase, None if it has not started."""
    tensors, document = state
    if not isinstance(document.get("prior"), dict):
        return state, None
    second = {name: tensor for name, tensor in tensors.items() if name.startswith("prior/")}
    first = {name: tensor for name, tensor in tensors.items() if name not in second}
    return (first, {name: value for name, value in document.items() if name != "prior"}), (second, document["prior"])


def _split_tensors(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    return parts
