"""CUDA graphs of a training step: one for each combination of shapes that recurs."""

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
"""Number of runs of a shape without a graph before it is captured; libraries initialise themselves at first use."""

MAX_GRAPHS = 64
"""Maximum number of graphs; further shapes run without a graph."""


@dataclass(frozen=True)
class Inputs:
    """Inputs that differ from one training step to the next.

    Arguments:
        batch: Rows of the step.
        plan: Random choices of the model.
        progress: Progress of the warm-up of the penalty weight, in [0, 1]; a scalar tensor in a graph.
        rate: Learning rate; a scalar tensor in a graph.
    """

    batch: Batch
    plan: Plan
    progress: float | Tensor
    rate: float | Tensor

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors whose shapes determine the graph."""
        return [*self.batch.values.values(), self.batch.observed, *self.plan]

    @property
    def shapes(self) -> tuple[object, ...]:
        """Key of a graph: names of the modalities, and shapes and types of the tensors."""
        return (*self.batch.values, *((tensor.shape, tensor.dtype) for tensor in self.tensors))

    def copy_to_new_memory(self, dtype: torch.dtype) -> Inputs:
        """Returns a copy in new memory, with scalar tensors of value 0 for the progress and the learning rate.

        Arguments:
            dtype: Type of the weights, used for the progress; the learning rate is float32.
        """
        device = self.batch.observed.device
        values = {name: value.clone() for name, value in self.batch.values.items()}
        return Inputs(
            Batch(values, self.batch.observed.clone(), self.batch.host),
            tuple(tensor.clone() for tensor in self.plan),
            torch.zeros((), dtype=dtype, device=device),
            torch.zeros((), dtype=torch.float32, device=device),
        )

    def fill(self, other: Inputs) -> None:
        """Copies the values of another step, which has the same shapes."""
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.copy_(theirs, non_blocking=True)
        for mine, theirs in ((self.progress, other.progress), (self.rate, other.rate)):
            assert isinstance(mine, Tensor)
            mine.fill_(theirs)


class Recorder:
    """Runs functions on a separate CUDA stream, and captures them as graphs that share one memory pool.

    The output of a graph is overwritten when any of the graphs runs next.

    Arguments:
        device: GPU to use.

    Source: PyTorch's notes on CUDA graphs, "Whole-network capture" and "Graph memory management".
    """

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    @classmethod
    def of(cls, accelerator: Accelerator) -> Recorder | None:
        """Returns a recorder if steps can be captured, otherwise None.

        Capturing needs a single GPU and no loss scaling, because loss scaling reads the gradients.
        """
        alone = accelerator.num_processes == 1 and accelerator.scaler is None
        return cls(accelerator.device) if alone and accelerator.device.type == "cuda" else None

    def run(self, function: Callable[[], T]) -> T:
        """Runs a function on the separate stream, in order with the work of the current stream; returns its result."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            done = function()
        current.wait_stream(self.stream)
        return done

    def watch(self, function: Callable[[], T]) -> tuple[T, str | None]:
        """Runs a function as `run` does, and detects synchronisation with the GPU, which a graph cannot contain.

        Returns:
            The result of the function, and a description of the line that synchronised first; None if none did.
        """
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                done = self.run(function)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [warning for warning in caught if "called a synchronizing" in str(warning.message)]
        return done, f"line {waits[0].lineno} of {Path(waits[0].filename).name} waits for the GPU" if waits else None

    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        """Captures a function without executing its work; returns a function that runs the graph.

        Raises:
            RuntimeError: The function cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # Loading threads keep working during the capture, and their calls to the GPU must not abort it.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            done = function()

        def replay() -> T:
            graph.replay()
            return done

        return replay


class Graphs(Generic[T]):
    """A step that runs without a graph for the first calls with a shape, and as a CUDA graph from then on.

    Every call takes one step: capturing does no work, and the graph is run afterwards. If the step cannot be captured,
    a warning is issued once, and all further steps run without graphs.

    Arguments:
        step: Function of the inputs and of the number of rows of the update that ends the step, 0 for no update. All
            other Python values that it reads must be constant.
        recorder: Recorder that runs and captures the step.
        dtype: Type of the weights.
        undo: Function that is called after a failed capture.
    """

    def __init__(
        self, step: Callable[[Inputs, int], T], recorder: Recorder, dtype: torch.dtype, undo: Callable[[], None]
    ) -> None:
        self.step, self.recorder, self.dtype, self.undo = step, recorder, dtype, undo
        self.seen: dict[object, int] = {}
        self.kept: dict[object, tuple[Inputs, Callable[[], T]]] = {}
        self.refused = False

    def __call__(self, inputs: Inputs, rows: int) -> T:
        """Takes one step; returns the output of `step`."""
        key = (inputs.shapes, rows)
        if not self.refused and key not in self.kept:
            times = self.seen[key] = self.seen.get(key, 0) + 1
            if times == BEFORE:
                return self._run_and_check_sync(inputs, rows)
            if times > BEFORE and len(self.kept) < MAX_GRAPHS:
                self._capture(key, inputs, rows)
        if key not in self.kept:
            return self.recorder.run(lambda: self.step(inputs, rows))
        fixed, replay = self.kept[key]
        fixed.fill(inputs)
        return replay()

    def _run_and_check_sync(self, inputs: Inputs, rows: int) -> T:
        done, trouble = self.recorder.watch(lambda: self.step(inputs, rows))
        if trouble:
            self._refuse(trouble)
        return done

    def _capture(self, key: object, inputs: Inputs, rows: int) -> None:
        fixed = inputs.copy_to_new_memory(self.dtype)
        try:
            self.kept[key] = fixed, self.recorder.record(lambda: self.step(fixed, rows))
        except RuntimeError as error:
            self.undo()
            self._refuse(brief(error))

    def _refuse(self, trouble: str) -> None:
        self.refused = True
        self.kept.clear()
        warnings.warn(
            f"a training step of this model cannot run as one CUDA graph ({trouble}); training continues "
            "without graphs, which is slower and gives the same results",
            RuntimeWarning,
            stacklevel=2,
        )
