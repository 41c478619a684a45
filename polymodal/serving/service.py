"""What the endpoints of a server share: the model, its queue, and the conversion of requests and responses."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import Request

from polymodal.models.base import Model
from polymodal.runtime.formatting import brief
from polymodal.serving.batch_predictor import BatchPredictor, PointPredictor, Prediction, Task
from polymodal.serving.calibrated_spreads import compute_spreads, has_calibrated_spread
from polymodal.serving.limits import Limits, RequestError
from polymodal.serving.request_metrics import RequestMetrics
from polymodal.serving.request_queue import Batcher
from polymodal.serving.request_reader import RequestReader, parse_json

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["Service", "write_json"]

PATIENCE = 0.5
"""Seconds after which the server looks whether the client of a waiting request still exists."""
INLINE = 2**16
"""Bytes of a body up to which it is parsed, and its response written, without another thread."""
QUICK_PIXELS = 2**16
"""Pixels of an image up to which it is decoded without another thread. A file of a few kB can hold millions."""


@dataclass(eq=False)
class Service:
    """What the endpoints of a server share.

    Arguments:
        model: Trained model.
        name: Name that the page shows.
        examples: Rows that the page offers as examples; None for none.
        limits: Limits of the server.
        points: Program that computes point predictions instead of the model, such as ONNX Runtime.
    """

    model: Model
    name: str
    examples: Table | Sequence[Mapping[str, Any]] | None
    limits: Limits
    points: PointPredictor | None

    def __post_init__(self) -> None:
        self.reader = RequestReader(self.model.schema, self.limits)
        self.quick_reader = RequestReader(
            self.model.schema, replace(self.limits, pixels=min(self.limits.pixels, QUICK_PIXELS))
        )
        codecs = self.reader.codecs
        self.predictor = BatchPredictor(self.model, self.points, lambda name, values: codecs[name].round(values))
        self.queue: Batcher[Task, Prediction] = Batcher(
            self.predictor.predict,
            most=self.limits.batch,
            waiting=self.limits.waiting,
            observe=lambda tasks: self.metrics.count_batch(sum(len(task.batch) for task in tasks)),
        )
        self.metrics = RequestMetrics(lambda: len(self.queue))
        self.count = 0 if self.examples is None else len(self.examples)

    @cached_property
    def example(self) -> dict[str, Any]:
        """Example values by modality: those of the first example rows, otherwise blank values."""
        row: dict[str, Any] = {}
        for index in range(min(self.count, 20)):
            row = self.read_example(index) | row
        return {name: row.get(name, codec.example) for name, codec in self.reader.codecs.items()}

    def read_example(self, index: int) -> dict[str, Any]:
        """Returns an example row in JSON, with its observed modalities."""
        assert self.examples is not None
        found = self.examples[index]
        return dict(found) if isinstance(found, Mapping) else self.reader.write_row(found)

    def describe(self) -> dict[str, Any]:
        """Returns the response of `GET /api/schema`."""
        model, example = self.model, self.example
        modalities = [
            {"name": name, **codec.describe(), "example": example[name]} for name, codec in self.reader.codecs.items()
        ]
        return {
            **self.identify(),
            "latent_dim": model.latent_dim,
            "code_dim": model.code_dim,
            "can_sample": not model.deterministic,
            "can_impute_table": True,
            "examples": self.count,
            "limits": self.limits.to_json(),
            "modalities": modalities,
        }

    def identify(self) -> dict[str, str]:
        """Returns the name of the run, that of the model and the version."""
        return {"name": self.name, "model": self.model.name, "version": version("polymodal")}

    async def compute(self, request: Request, future: asyncio.Future[Any]) -> Any:
        """Waits for the result of the model.

        Raises:
            RequestError: It takes too long, the client has gone, or the model refuses a value.
        """
        end = time.monotonic() + self.limits.seconds
        try:
            while not (await asyncio.wait({future}, timeout=PATIENCE))[0]:
                if await request.is_disconnected():
                    raise RequestError(499, "the client has closed the connection")
                if time.monotonic() > end:
                    most = f"at most {self.limits.seconds} seconds"
                    message = f"the prediction must take {most}, and took longer; send fewer rows"
                    raise RequestError(503, message, retry=self.limits.seconds)
            return future.result()
        except ValueError as error:
            raise RequestError(422, brief(error, 500)) from None
        finally:
            future.cancel()  # which leaves it out of the next batch

    async def read_body(self, request: Request) -> tuple[Any, bool]:
        """Returns the JSON of a request, and whether it is small."""
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError(415, f"the content type must be application/json; got {brief(kind, 60)}")
        body = await request.body()
        small = len(body) <= INLINE
        return (parse_json(body) if small else await asyncio.to_thread(parse_json, body)), small

    def check_sampling(self, task: Task) -> None:
        """Checks that the model has posterior samples with the options of a task."""
        if (options := task.sampling) is None:
            return
        more = (options.seed, options.steps, options.guidance, options.temperature)
        try:
            self.model.check_samples(options.samples, None, *more)
        except ValueError as error:
            raise RequestError(422, str(error)) from None

    def write_prediction(self, task: Task, prediction: Prediction) -> bytes:
        """Returns the response of `POST /api/translate`."""
        reader = self.reader
        samples = details = None
        if task.sampling is not None:
            per_sample = [
                reader.write_rows({name: value[place] for name, value in prediction.samples.items()})
                for place in range(task.sampling.samples)
            ]
            samples = [list(row) for row in zip(*per_sample, strict=True)]
        if task.details:
            details = self._describe_details(task, prediction)
        return write_json({"rows": reader.write_rows(prediction.values), "samples": samples, "details": details})

    def _describe_details(self, task: Task, prediction: Prediction) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in range(len(task.batch))]
        for name in prediction.values:
            codec = self.reader.codecs[name]
            found: list[dict[str, Any]] = [{} for _ in rows]
            if name in prediction.distributions:
                found = codec.describe_distribution(prediction.distributions[name])
            spreads = self._measure_spreads(task, prediction, name)
            for place, row in enumerate(rows):
                row[name] = found[place] | ({} if spreads is None else {"spread": spreads[place]})
        return rows

    def _measure_spreads(self, task: Task, prediction: Prediction, name: str) -> list[Any] | None:
        """Returns the spread of the predictions of each row; None if it is not known."""
        if has_calibrated_spread(self.model, name):
            return compute_spreads(self.model, name, prediction.values[name], task.given)
        samples, codec = prediction.samples.get(name), self.reader.codecs[name]
        if samples is None or codec.measure_spread(samples[:, 0]) is None:
            return None
        return [codec.measure_spread(samples[:, place]) for place in range(len(task.batch))]


def write_json(document: Any) -> bytes:
    """Returns a document as JSON. Numbers that are not finite become null."""
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    except ValueError:
        return json.dumps(_replace_infinite(document), allow_nan=False, ensure_ascii=False).encode()


def _replace_infinite(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _replace_infinite(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_replace_infinite(value) for value in document]
    return None if isinstance(document, float) and not abs(document) < float("inf") else document
