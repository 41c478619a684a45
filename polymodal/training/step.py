"""One training step: forward pass, backward pass and, if due, an update of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from polymodal.batch import Batch
from polymodal.models.base import Model, Plan
from polymodal.runtime import distributed
from polymodal.runtime.prefetch import copy_to_device
from polymodal.training.fit_settings import FitSettings
from polymodal.training.graphs import Graphs, Inputs, Recorder
from polymodal.training.means import Terms
from polymodal.training.optimized import OptimizedWeights

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Step", "sample_plan"]


class Step:
    """A training step that never synchronises with the device, which allows a GPU to run it as one CUDA graph.

    `_forward_backward_update` is the sequence of forward pass, backward pass and update.

    Arguments:
        model: Model to train.
        accelerator: Accelerate's `Accelerator`.
        settings: Settings of the run.
        recorder: Recorder that captures steps as CUDA graphs; None runs them without graphs.

    Attributes:
        wrapped: The model as Accelerate wraps it for mixed precision and several processes.
        average: Averaged weights; None without averaging.
        weights: The tensors that are updated.
    """

    def __init__(
        self, model: Model, accelerator: Accelerator, settings: FitSettings, recorder: Recorder | None = None
    ) -> None:
        self.model, self.accelerator, self.settings = model, accelerator, settings
        self.average = None
        if settings.ema:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        if settings.compile:
            _compile(_networks(model))
        # Other processes, and GPU graphs, work with single parameters.
        alone = distributed.world_size() == 1 and accelerator.device.type == "cpu"
        self.weights = OptimizedWeights(model, model.stack_weights() if alone else [])
        self.adam = torch.optim.Adam(
            self.weights.tensors,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.wrapped, self.optimizer = accelerator.prepare(model, self.adam)
        self.backward = accelerator.backward
        if alone and accelerator.mixed_precision == "no":  # for small models, the calls of Accelerate take a tenth
            self.optimizer, self.backward = self.adam, torch.Tensor.backward
        self.graphs = None
        if recorder is not None:
            self.graphs = Graphs(self._forward_backward_update, recorder, model.weight.dtype, self._drop_gradients)
        self._is_first = True

    def __call__(self, batch: Batch, progress: float, rows: int = 0) -> Terms:
        """Takes one step: forward pass, backward pass and, if `rows` is positive, the update; returns the loss terms.

        Arguments:
            batch: Batch of B rows, on the device.
            progress: Progress of the warm-up of the penalty weight, in [0, 1].
            rows: Number of rows of the update, including those of earlier accumulated batches; 0 if no update is due.
        """
        inputs = Inputs(batch, sample_plan(self.model, batch), progress, self.adam.param_groups[0]["lr"])
        if self.graphs is None:
            return self._forward_backward_update(inputs, rows)
        return self.graphs(inputs, rows)

    def _forward_backward_update(self, inputs: Inputs, rows: int) -> Terms:
        """Runs the forward pass, the backward pass and, if `rows` is positive, the update; see `__call__`."""
        batch = inputs.batch
        loss = self.wrapped(batch, progress=inputs.progress, plan=inputs.plan)
        share = 1.0 if self.settings.accumulate == 1 else batch.total / self.settings.batch_size
        weight = distributed.world_size() * batch.counted / batch.total  # gradients are averaged over processes
        self.backward(loss.total * (share * weight))
        if rows:
            with self._override_learning_rate(inputs.rate):
                self.update(rows)
        return Terms.of(loss)

    def update(self, rows: int) -> None:
        """Takes one step of the optimiser on gradients that were accumulated over a number of rows."""
        self.weights.collect_gradients()
        if self.settings.accumulate > 1:  # gradient of the mean over rows
            for p in self.weights.tensors:
                if p.grad is not None:
                    p.grad.mul_(self.settings.batch_size / rows)
        if self.settings.clip is not None:
            self.accelerator.clip_grad_norm_(self.weights.tensors, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=not self._keeps_gradients)
        self._update_average()

    def release(self) -> None:
        """Reverts the changes of mixed precision, compilation and stacked weights to the model."""
        self.weights.release()
        vars(self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)).pop("forward", None)
        for network in _networks(self.model):
            vars(network).pop("forward", None)

    @property
    def _keeps_gradients(self) -> bool:
        """Whether gradients keep their memory between updates, because graphs accumulate into it."""
        return self.graphs is not None and self.settings.accumulate > 1

    @contextmanager
    def _override_learning_rate(self, rate: float | Tensor) -> Iterator[None]:
        """Within a CUDA graph, makes Adam read its learning rate from the device."""
        if not isinstance(rate, Tensor):
            yield
            return
        kept = [dict(group) for group in self.adam.param_groups]
        for group in self.adam.param_groups:
            group["lr"], group["capturable"] = rate, True
        try:
            yield
        finally:
            for group, before in zip(self.adam.param_groups, kept, strict=True):
                group.update(before)

    def _update_average(self) -> None:
        """Updates the averaged weights without synchronising with the device.

        `AveragedModel.update_parameters` computes the same, but reads its count from the device for every parameter.
        """
        if self.average is None:
            return
        if self._is_first:  # copies the weights, unless the run is resumed and the average has been restored
            self.average.update_parameters(self.model)
            self._is_first = False
            return
        kept, now = self.average.module, self.model
        assert self.average.multi_avg_fn is not None
        self.average.multi_avg_fn([*kept.parameters()], [*now.parameters()], self.average.n_averaged)
        _copy_buffers(kept, now)
        self.average.n_averaged += 1

    def _drop_gradients(self) -> None:
        """Drops gradients that a failed capture has left in the memory of a graph."""
        if not self._keeps_gradients:
            self.optimizer.zero_grad()


def sample_plan(model: Model, batch: Batch) -> Plan:
    """Samples a model's random choices for a batch with the CPU's generator, whatever the device.

    Several processes sample the same choices for the entire batch, and each keeps those of its rows.

    Raises:
        ValueError: The model cannot be trained on one of the rows.
    """
    model.require_trainable(batch.known)
    if batch.whole is None:
        plan = model.plan(batch.known)
    else:
        with distributed.get_local_rows(len(batch)).common_streams():
            plan = model.part(model.plan(batch.whole.known), slice(batch.whole.start, batch.whole.start + len(batch)))
    return tuple(copy_to_device(tensor, batch.observed.device) for tensor in plan)


def _networks(model: Model) -> list[nn.Module]:
    """Returns the networks to compile: they take most of the time of a step, and their inputs are tensors only."""
    return [*getattr(model, "encoders", ()), *model.decoders]


def _compile(networks: list[nn.Module]) -> None:
    """Compiles the `forward` method of each network; compiling the network itself would rename its weights."""
    limit = torch._dynamo.config.recompile_limit  # compiled versions, one per shape, of all networks together
    torch._dynamo.config.recompile_limit = max(limit, limit * len(networks))
    for network in networks:
        vars(network)["forward"] = torch.compile(network.forward)


@torch.no_grad()
def _copy_buffers(target: nn.Module, source: nn.Module) -> None:
    for kept, now in zip(target.buffers(), source.buffers(), strict=True):
        kept.copy_(now)
