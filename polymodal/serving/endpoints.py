"""Endpoints of the REST API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Query, Request, Response

from polymodal.serving.batch_predictor import Prediction, Task
from polymodal.serving.limits import RequestError
from polymodal.serving.openapi_schemas import Documents, describe_responses
from polymodal.serving.request_reader import RequestReader
from polymodal.serving.service import Service, write_json

__all__ = ["Endpoints"]

JSON = {"application/json": {"schema": {"type": "object"}}}
TEXT = {"text/plain": {"schema": {"type": "string"}}}
"""Content of responses in the OpenAPI document."""
POSTED = (400, 401, 408, 413, 415, 422, 429, 503)
"""Status codes of errors of requests with rows."""


class Endpoints:
    """The endpoints of a server. Their docstrings document them in the OpenAPI document.

    Arguments:
        service: What they share.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.direct = {"/api/translate": self.translate, "/api/embed": self.embed}
        """Handlers of small requests by path, see `Guard`."""

    def add_to(self, app: FastAPI) -> None:
        """Adds the endpoints to an application."""
        documents = Documents(self._service.reader, self._service.example)
        for name, handler, errors, content in (
            ("health", self.read_health, (503,), JSON),
            ("schema", self.read_schema, (401,), JSON),
            ("example", self.read_example, (401, 404, 422), JSON),
            ("metrics", self.read_metrics, (401,), TEXT),
        ):
            responses = describe_responses(errors, content)
            app.get(f"/api/{name}", name=name, responses=responses, response_class=Response)(handler)
        for name, handler, body in (
            ("translate", self.translate, documents.make_translation()),
            ("embed", self.embed, documents.make_embedding()),
            ("sample", self.sample, documents.make_sample()),
        ):
            responses = describe_responses(POSTED, JSON)
            options: dict[str, Any] = {"name": name, "responses": responses, "openapi_extra": body}
            app.post(f"/api/{name}", response_class=Response, **options)(handler)

    async def read_health(self) -> Response:
        """Whether the server is ready."""
        return _send({"status": "ok", **self._service.identify()})

    async def read_schema(self) -> Response:
        """The model's modalities with shapes, classes, units and example values, and the server's limits."""
        return _send(self._service.describe())

    async def read_example(self, index: int = Query(default=0, ge=0, le=2**31)) -> Response:
        """An example row."""
        if index >= (count := self._service.count):
            raise RequestError(404, f"there are {count} example rows; got index {index}; choose a smaller one")
        row = await asyncio.to_thread(self._service.read_example, index)
        return _send({"index": index, "count": count, "row": row})

    async def read_metrics(self) -> Response:
        """Metrics in the format of Prometheus."""
        return Response(self._service.metrics.write(), media_type="text/plain; version=0.0.4")

    async def translate(self, request: Request) -> Response:
        """Predict modalities of rows from any of their other modalities."""
        task, prediction, small = await self._predict(request, RequestReader.read_translation)
        write = self._service.write_prediction
        if small and task.sampling is None:
            return _send(write(task, prediction))
        return _send(await asyncio.to_thread(write, task, prediction))

    async def embed(self, request: Request) -> Response:
        """Compute the latent codes of rows from any of their modalities."""
        _, prediction, _ = await self._predict(request, RequestReader.read_embedding)
        assert prediction.codes is not None
        return _send({"codes": prediction.codes.tolist()})

    async def sample(self, request: Request) -> Response:
        """Sample rows from the prior, in which all modalities agree."""
        service = self._service
        document, _ = await service.read_body(request)
        count, to, seed = service.reader.read_sample(document)
        values = await service.compute(
            request, service.queue.submit_alone(lambda: service.predictor.sample(count, to, seed))
        )
        return _send(await asyncio.to_thread(lambda: write_json({"rows": service.reader.write_rows(values)})))

    async def _predict(
        self, request: Request, read: Callable[[RequestReader, Any], Task]
    ) -> tuple[Task, Prediction, bool]:
        """Returns the task of a request, its prediction, and whether the request is small."""
        service = self._service
        document, small = await service.read_body(request)
        task = None
        if small:
            with suppress(RequestError):  # such as a large image, or an error that the other reader reports
                task = read(service.quick_reader, document)
        if task is None:
            task = await asyncio.to_thread(read, service.reader, document)
        service.check_sampling(task)
        future = service.queue.submit(task, task.size)
        return task, await service.compute(request, future), small


def _send(content: bytes | dict[str, Any]) -> Response:
    """Returns a response with a JSON document."""
    return Response(content if isinstance(content, bytes) else write_json(content), media_type="application/json")
