"""One training step: forward, backward and, where it is due, an update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from polymodal.batch import Batch
from polymodal.models.base import Model, Plan
from polymodal.runtime import distributed
from polymodal.runtime.prefetch import sent
from polymodal.training.graphs import Graphs, Inputs, Recorder
from polymodal.training.means import Terms

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Step", "planned"]


class Step:
    """A training step as one call that never waits for the device, so that a GPU can run it as one graph.

    Arguments:
        model: To train.
        accelerator: Accelerate's view of the machine.
        settings: Of `fit`: `learning_rate`, `weight_decay`, `batch_size`, `accumulate`, `clip`, `ema` and `compile`.
        recorder: That captures steps as graphs; None runs them as they are.
    """

    def __init__(
        self, model: Model, accelerator: Accelerator, settings: Mapping[str, Any], recorder: Recorder | None = None
    ) -> None:
        self.own, self.accelerator = model, accelerator
        self.batch_size, self.accumulate, self.clip = (settings[key] for key in ("batch_size", "accumulate", "clip"))
        self.adam = torch.optim.Adam(
            model.parameters(),
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.average = None
        if decay := settings["ema"]:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        if settings["compile"]:
            _compile(_networks(model))
        self.model, self.optimizer = accelerator.prepare(model, self.adam)
        self.graphs = None
        if recorder is not None:
            self.graphs = Graphs(self._run, recorder, model.weight.dtype, self._forget)
        self._first = True

    def __call__(self, batch: Batch, progress: float, rows: int = 0) -> Terms:
        """Forward and backward; then, where rows are given, the update.

        Arguments:
            batch: B rows, on the device.
            progress: How far the penalty's warm-up has come, in [0, 1].
            rows: Of the update that is due, those of the batches before that belong to it among them; 0 where none is.
        """
        inputs = Inputs(batch, planned(self.own, batch), progress, self.adam.param_groups[0]["lr"])
        if self.graphs is None:
            return self._run(inputs, rows)
        return self.graphs(inputs, rows)

    def update(self, rows: int) -> None:
        """One step of the optimiser on the gradients of so many rows."""
        if self.accumulate > 1:  # to the mean over rows
            for p in self.own.parameters():
                if p.grad is not None:
                    p.grad.mul_(self.batch_size / rows)
        if self.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=not self._keeps)
        self._update_average()

    def release(self) -> None:
        """Undoes what mixed precision and compilation have done to the model."""
        vars(self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)).pop("forward", None)
        for network in _networks(self.own):
            vars(network).pop("forward", None)

    @property
    def _keeps(self) -> bool:
        """Whether gradients stay where they are, for graphs to add to."""
        return self.graphs is not None and self.accumulate > 1

    def _run(self, inputs: Inputs, rows: int) -> Terms:
        loss = self.model(inputs.batch, progress=inputs.progress, plan=inputs.plan)
        batch = inputs.batch
        share = 1.0 if self.accumulate == 1 else batch.total / self.batch_size
        weight = distributed.world() * batch.counted / batch.total  # for the mean over processes is taken
        self.accelerator.backward(loss.total * (share * weight))
        if rows:
            with self._rated(inputs.rate):
                self.update(rows)
        return Terms.of(loss)

    @contextmanager
    def _rated(self, rate: float | Tensor) -> Iterator[None]:
        """Within a graph Adam must read its learning rate from the device."""
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
        """As the average's `update_parameters`, which reads its count back from the device for every parameter."""
        if self.average is None:
            return
        if self._first:  # it copies, unless the average is that of a run that goes on
            self.average.update_parameters(self.own)
            self._first = False
            return
        kept, now = self.average.module, self.own
        assert self.average.multi_avg_fn is not None
        self.average.multi_avg_fn([*kept.parameters()], [*now.parameters()], self.average.n_averaged)
        _copy_buffers(kept, now)
        self.average.n_averaged += 1

    def _forget(self) -> None:
        """Drops gradients that a capture has left in a graph's memory."""
        if not self._keeps:
            self.own.zero_grad()


def planned(model: Model, batch: Batch) -> Plan:
    """A model's random choices for a batch, from the CPU's random stream whatever the device.

    Several processes make the same for the whole batch, and each keeps what concerns its rows.

    Raises:
        ValueError: The model cannot be trained on a row.
    """
    model.require_trainable(batch.known)
    if batch.whole is None:
        plan = model.plan(batch.known)
    else:
        with distributed.here(len(batch)).draws():
            plan = model.part(model.plan(batch.whole.known), slice(batch.whole.start, batch.whole.start + len(batch)))
    return tuple(sent(tensor, batch.observed.device) for tensor in plan)


def _networks(model: Model) -> list[nn.Module]:
    """What is worth compiling: where nearly all of a step's time goes, and nothing but tensors goes in and out."""
    return [*getattr(model, "encoders", ()), *model.decoders]


def _compile(networks: list[nn.Module]) -> None:
    """Compiles what each network does; not the network itself, whose weights would get other names."""
    limit = torch._dynamo.config.recompile_limit  # of versions, for other shapes, of all networks together
    torch._dynamo.config.recompile_limit = max(limit, limit * len(networks))
    for network in networks:
        vars(network)["forward"] = torch.compile(network.forward)


@torch.no_grad()
def _copy_buffers(there: nn.Module, here: nn.Module) -> None:
    for kept, now in zip(there.buffers(), here.buffers(), strict=True):
        kept.copy_(now)
