"""Predictions for several requests at once: one encoder pass with a mask per row, and each decoder on its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.inference.passes import emit_each
from polymodal.modalities.base import Bounds
from polymodal.models.base import Model, answering
from polymodal.models.flow_codes import sample_rows

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["BatchPredictor", "PointPredictor", "Prediction", "SampleOptions", "Task"]


@dataclass(frozen=True)
class SampleOptions:
    """Options of posterior samples, see `Model.translate`. Requests with equal options are sampled together."""

    samples: int
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    temperature: float | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """The rows of one request.

    Arguments:
        batch: The n rows.
        given: Modalities to condition on, `(n, M)` bool; each row has at least one, and all are observed.
        to: Names of the modalities to predict.
        sampling: Options of posterior samples; None for point predictions only.
        details: Whether to return the distributions of the predictions.
        bounds: Limits of predicted numbers, see `Modality.bound`.
        embed: Whether to return the codes instead of predictions.
    """

    batch: Batch
    given: Tensor
    to: Sequence[str] = ()
    sampling: SampleOptions | None = None
    details: bool = False
    bounds: Bounds = "observed"
    embed: bool = False

    @property
    def size(self) -> int:
        """Number of codes that are decoded: one per row, and one per posterior sample."""
        return len(self.batch) * (1 + (self.sampling.samples if self.sampling is not None else 0))


@dataclass
class Prediction:
    """What a model predicts for a task, on the CPU."""

    values: dict[str, Tensor] = field(default_factory=dict)
    """Point predictions by modality, `(n, *shape)`."""
    distributions: dict[str, Distribution] = field(default_factory=dict)
    """Distributions of the point predictions of classes by modality, batch shape `(n,)`, if details are asked for."""
    samples: dict[str, Tensor] = field(default_factory=dict)
    """Posterior samples by modality, `(S, n, *shape)`."""
    codes: Tensor | None = None
    """Posterior means, `(n, code_dim)`."""


class PointPredictor(Protocol):
    """Another program that computes a model's point predictions, such as ONNX Runtime."""

    def translate_arrays(
        self, values: dict[str, Any], observed: Any, to: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Predicts modalities from values `(B, *shape)` by name in a table's units and the mask `(B, M)` bool."""
        ...


class BatchPredictor:
    """Predicts the rows of several tasks at once. The result of each task is that of the task alone.

    Only one thread at a time may use it.

    Arguments:
        model: Trained model.
        points: Program that computes point predictions instead of the model.
        finish: Function of a name and point predictions `(n, *shape)` that is applied to all tasks at once.
    """

    def __init__(
        self,
        model: Model,
        points: PointPredictor | None = None,
        finish: Callable[[str, Tensor], Tensor] = lambda name, values: values,
    ) -> None:
        self.model, self.points, self._finish = model, points, finish

    def predict(self, tasks: Sequence[Task]) -> list[Prediction]:
        """Predicts all tasks at once, and returns one prediction for each.

        Raises:
            ValueError: A task has values that the model refuses.
        """
        made = [Prediction() for _ in tasks]
        batch = join_batches([task.batch for task in tasks])
        given = torch.cat([task.given for task in tasks])
        ends = torch.tensor([len(task.batch) for task in tasks]).cumsum(0).tolist()
        spans = [range(end - len(task.batch), end) for task, end in zip(tasks, ends, strict=True)]
        with answering(self.model):
            if self.points is None or any(task.details or task.embed for task in tasks):
                self._predict_points(tasks, spans, batch, given, made)
            else:
                self._run_points(tasks, spans, batch, given, made)
            for options in dict.fromkeys(task.sampling for task in tasks if task.sampling is not None):
                some = [place for place, task in enumerate(tasks) if task.sampling == options]
                self._sample(options, [tasks[place] for place in some], [made[place] for place in some])
        return made

    def sample(self, count: int, to: Sequence[str], seed: int) -> dict[str, Tensor]:
        """Returns unconditional samples, `(count, *shape)` by name, on the CPU."""
        values = self.model.sample(count, list(to), seed=seed)
        return {name: self.model.schema[name].bound(value.cpu()) for name, value in values.items()}

    def _predict_points(
        self, tasks: Sequence[Task], spans: Sequence[range], batch: Batch, given: Tensor, made: list[Prediction]
    ) -> None:
        """Sets the codes and the point predictions of all tasks."""
        model = self.model
        z = model.encode(batch.to(model.weight.device), given).mean
        for task, span, prediction in zip(tasks, spans, made, strict=True):
            prediction.codes = z[span.start : span.stop].cpu() if task.embed else None
        users = find_users(model.schema, tasks)
        rows = {name: [row for place in places for row in spans[place]] for name, places in users.items()}
        outputs = emit_each(model, {name: z if len(some) == len(z) else z[some] for name, some in rows.items()})
        for name, places in users.items():
            distribution, modality = model.make_distribution(name, outputs[name]), model.schema[name]
            values = self._finish(name, modality.value(distribution)).cpu()
            sizes = [len(spans[place]) for place in places]
            start = 0
            for place, size, value in zip(places, sizes, values.split(sizes), strict=True):
                made[place].values[name] = modality.bound(value, tasks[place].bounds)
                if tasks[place].details and modality.levels is not None and not modality.shape:
                    own = outputs[name][start : start + size]
                    made[place].distributions[name] = model.make_distribution(name, own)
                start += size

    def _run_points(
        self, tasks: Sequence[Task], spans: Sequence[range], batch: Batch, given: Tensor, made: list[Prediction]
    ) -> None:
        """Sets the point predictions of all tasks by another program than the model."""
        assert self.points is not None
        names = list(find_users(self.model.schema, tasks))
        values = {name: value.numpy() for name, value in batch.values.items()}
        outputs = self.points.translate_arrays(values, given.numpy(), names)
        for task, span, prediction in zip(tasks, spans, made, strict=True):
            for name in task.to:
                value = torch.from_numpy(outputs[name][span.start : span.stop])
                prediction.values[name] = self.model.schema[name].bound(value, task.bounds)

    def _sample(self, options: SampleOptions, tasks: Sequence[Task], made: Sequence[Prediction]) -> None:
        """Sets the posterior samples of tasks with equal options. Rows are numbered within their task."""
        model = self.model
        batch, given = join_batches([task.batch for task in tasks]), torch.cat([task.given for task in tasks])
        numbers = [row for task in tasks for row in range(len(task.batch))]
        posterior = model.encode(batch.to(model.weight.device), given)
        more = {"steps": options.steps, "guidance": options.guidance, "temperature": options.temperature}
        z = sample_rows(posterior, [options.samples], seed=options.seed, rows=numbers, **more)  # (S, B, D)
        users = find_users(model.schema, tasks)
        sizes = [len(task.batch) for task in tasks]
        parts = z.split(sizes, dim=1)
        codes = {name: torch.cat([parts[place] for place in places], dim=1) for name, places in users.items()}
        outputs = emit_each(model, {name: own.flatten(0, 1) for name, own in codes.items()})
        for name, places in users.items():
            modality = model.schema[name]
            values = modality.value(model.make_distribution(name, outputs[name])).cpu()
            values = values.unflatten(0, codes[name].shape[:2])
            for place, value in zip(places, values.split([sizes[place] for place in places], dim=1), strict=True):
                made[place].samples[name] = modality.bound(value, tasks[place].bounds)


def find_users(schema: Any, tasks: Sequence[Task]) -> dict[str, list[int]]:
    """Returns the places of the tasks that predict each modality, by name, in the order of the schema."""
    users = {name: [place for place, task in enumerate(tasks) if name in task.to] for name in schema}
    return {name: places for name, places in users.items() if places}


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Returns the rows of several batches that have the same modalities in `values`, one after another."""
    if len(batches) == 1:
        return batches[0]
    names = batches[0].values
    values = {name: torch.cat([batch.values[name] for batch in batches]) for name in names}
    return Batch(values, torch.cat([batch.observed for batch in batches]))
