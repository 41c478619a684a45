"""A function of tensors as CUDA graphs: one for each shape that comes again and again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models.base import Plan
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Graphs", "Inputs", "Recorder"]

T = TypeVar("T")

BEFORE = 3
"""Times that a shape is run as it is before it is captured: libraries then have what they make at first use."""

MOST = 64
"""Graphs that are kept; further shapes are run as they are."""


@dataclass(frozen=True)
class Inputs:
    """All that differs from one training step to the next.

    Arguments:
        batch: The rows.
        plan: The model's random choices.
        progress: Of the penalty's warm-up; a scalar tensor in a graph.
        rate: The learning rate; likewise.
    """

    batch: Batch
    plan: Plan
    progress: float | Tensor
    rate: float | Tensor

    @property
    def tensors(self) -> list[Tensor]:
        """Those whose shapes a graph depends on."""
        return [*self.batch.values.values(), self.batch.observed, *self.plan]

    @property
    def shapes(self) -> tuple[object, ...]:
        """What a graph can serve."""
        return (*self.batch.values, *((tensor.shape, tensor.dtype) for tensor in self.tensors))

    def fixed(self, dtype: torch.dtype) -> Inputs:
        """The same in memory of their own, numbers as tensors: of the type of the weights, and Adam's rate float32."""
        device = self.batch.observed.device
        values = {name: value.clone() for name, value in self.batch.values.items()}
        return Inputs(
            Batch(values, self.batch.observed.clone(), self.batch.host),
            tuple(tensor.clone() for tensor in self.plan),
            torch.zeros((), dtype=dtype, device=device),
            torch.zeros((), dtype=torch.float32, device=device),
        )

    def fill(self, other: Inputs) -> None:
        """Takes another step's numbers, of the same shapes."""
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.copy_(theirs, non_blocking=True)
        for mine, theirs in ((self.progress, other.progress), (self.rate, other.rate)):
            assert isinstance(mine, Tensor)
            mine.fill_(theirs)


class Recorder:
    """Runs functions on a stream of its own on a GPU, and captures them there as graphs that share their memory.

    Whatever a graph gives back is overwritten by the next run of any of them.

    Arguments:
        device: The GPU.

    Source: PyTorch's notes on CUDA graphs, "Whole-network capture" and "Graph memory management".
    """

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    @classmethod
    def of(cls, accelerator: Accelerator) -> Recorder | None:
        """One where steps can be captured: on a single GPU, without the scaling of losses, which looks at gradients."""
        alone = accelerator.num_processes == 1 and accelerator.scaler is None
        return cls(accelerator.device) if alone and accelerator.device.type == "cuda" else None

    def run(self, function: Callable[[], T]) -> T:
        """What a function gives, in its place among the work of the current stream."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            done = function()
        current.wait_stream(self.stream)
        return done

    def watch(self, function: Callable[[], T]) -> tuple[T, str | None]:
        """As `run`, and where the function waited for the GPU first, which no graph can do; None if it did not."""
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                done = self.run(function)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [warning for warning in said if "called a synchronizing" in str(warning.message)]
        return done, f"line {waits[0].lineno} of {Path(waits[0].filename).name} waits for it" if waits else None

    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        """Captures a function, which does nothing yet; what is returned runs it.

        Raises:
            RuntimeError: It cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # Loading threads go on working meanwhile: what they ask of the GPU must not break the capture off.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            done = function()

        def replay() -> T:
            graph.replay()
            return done

        return replay


class Graphs(Generic[T]):
    """A step that runs as it is the first times that it meets a shape, and as a graph from then on.

    Every call is a real step: capturing one does nothing, and the graph is then run. Where the step cannot be
    captured, that is said once, and it goes on as it is.

    Arguments:
        step: Told its inputs and the number of rows of the update that it ends with, 0 for none. All else that it
            reads from Python must stay as it is.
        recorder: That runs and captures it.
        dtype: Of the weights.
        undo: Called when a capture has failed half-way.
    """

    def __init__(
        self, step: Callable[[Inputs, int], T], recorder: Recorder, dtype: torch.dtype, undo: Callable[[], None]
    ) -> None:
        self.step, self.recorder, self.dtype, self.undo = step, recorder, dtype, undo
        self.seen: dict[object, int] = {}
        self.kept: dict[object, tuple[Inputs, Callable[[], T]]] = {}
        self.refused = False

    def __call__(self, inputs: Inputs, rows: int) -> T:
        """One step."""
        key = (inputs.shapes, rows)
        if not self.refused and key not in self.kept:
            times = self.seen[key] = self.seen.get(key, 0) + 1
            if times == BEFORE:
                return self._watched(inputs, rows)
            if times > BEFORE and len(self.kept) < MOST:
                self._capture(key, inputs, rows)
        if key not in self.kept:
            return self.recorder.run(lambda: self.step(inputs, rows))
        fixed, replay = self.kept[key]
        fixed.fill(inputs)
        return replay()

    def _watched(self, inputs: Inputs, rows: int) -> T:
        done, trouble = self.recorder.watch(lambda: self.step(inputs, rows))
        if trouble:
            self._refuse(trouble)
        return done

    def _capture(self, key: object, inputs: Inputs, rows: int) -> None:
        fixed = inputs.fixed(self.dtype)
        try:
            self.kept[key] = fixed, self.recorder.record(lambda: self.step(fixed, rows))
        except RuntimeError as error:
            self.undo()
            self._refuse(brief(error))

    def _refuse(self, trouble: str) -> None:
        self.refused = True
        self.kept.clear()
        warnings.warn(
            f"a training step of this model cannot run as one CUDA graph, for {trouble}; it goes on without, "
            "which is slower and gives the same",
            RuntimeWarning,
            stacklevel=2,
        )
