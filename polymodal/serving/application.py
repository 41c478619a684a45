"""The web application: endpoints of the REST API, and files of the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from polymodal.models.base import Model, check_model
from polymodal.runtime.formatting import brief
from polymodal.serving.batch_predictor import BatchPredictor, PointPredictor, Prediction, Task
from polymodal.serving.guard import Guard, write_error
from polymodal.serving.limits import Limits, RequestError
from polymodal.serving.openapi_schemas import ERRORS, Documents, describe_answers
from polymodal.serving.request_metrics import RequestMetrics
from polymodal.serving.request_queue import Batcher
from polymodal.serving.request_reader import RequestReader, parse_json

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["create_app"]

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""Media types of the page's files."""
INLINE = 2**16
"""Bytes of a body up to which it is parsed, and its answer written, without another thread."""
Handler = Callable[["Request"], Awaitable["Response"]]


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
        self.predictor = BatchPredictor(self.model, self.points)
        self.queue: Batcher[Task, Prediction] = Batcher(
            self.predictor.predict,
            most=self.limits.batch,
            waiting=self.limits.waiting,
            observe=lambda rows: self.metrics.count_batch(rows),
        )
        self.metrics = RequestMetrics(lambda: len(self.queue))
        self.count = 0 if self.examples is None else len(self.examples)

    @cached_property
    def example(self) -> dict[str, Any]:
        """Example values by modality: those of the first example rows, otherwise blank values."""
        row: dict[str, Any] = {}
        for index in range(min(self.count, 20)):
            row = self.read_example(index) | row
        blanks = {name: self.model.schema[name].blank for name in self.model.schema if name not in row}
        made = {
            name: None if value.dtype.is_signed and (value < 0).any() else self.reader.codecs[name].write(value)
            for name, value in blanks.items()
        }
        labels = {name: codec.classes[0] for name, codec in self.reader.codecs.items() if hasattr(codec, "classes")}
        row |= {name: labels.get(name) if value is None else value for name, value in made.items()}
        return {name: row[name] for name in self.model.schema}

    def read_example(self, index: int) -> dict[str, Any]:
        """Returns an example row in JSON, with its observed modalities."""
        assert self.examples is not None
        found = self.examples[index]
        return dict(found) if isinstance(found, Mapping) else self.reader.write_row(found)

    def describe(self) -> dict[str, Any]:
        """Returns the answer of `GET /api/schema`."""
        model, example = self.model, self.example
        modalities = [
            {"name": name, **codec.describe(), "example": example[name]} for name, codec in self.reader.codecs.items()
        ]
        return {
            **self.identify(),
            "latent_dim": model.latent_dim,
            "code_dim": model.code_dim,
            "can_sample": not model.deterministic,
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
        gone = asyncio.ensure_future(_wait_until_gone(request))
        try:
            await asyncio.wait({future, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            future.cancel()
            if gone.done():
                raise RequestError(499, "the client has closed the connection")
            seconds = self.limits.seconds
            raise RequestError(
                503, f"the prediction must take at most {seconds} seconds, and did not; send fewer rows", retry=seconds
            )
        except ValueError as error:
            raise RequestError(422, brief(error, 500)) from None
        finally:
            gone.cancel()

    async def read_body(self, request: Request) -> tuple[Any, bool]:
        """Returns the JSON of a request, and whether it is small."""
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError(415, f"the content type must be application/json; got {brief(kind, 60)}")
        body = await request.body()
        small = len(body) <= INLINE
        return (parse_json(body) if small else await asyncio.to_thread(parse_json, body)), small

    def write_prediction(self, task: Task, prediction: Prediction) -> bytes:
        """Returns the answer of `POST /api/translate`."""
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
            codec, samples = self.reader.codecs[name], prediction.samples.get(name)
            found: list[dict[str, Any]] = [{} for _ in rows]
            if name in prediction.distributions:
                found = codec.describe_distribution(prediction.distributions[name])
            for place, row in enumerate(rows):
                spread = None if samples is None else codec.measure_spread(samples[:, place])
                row[name] = found[place] | ({} if spread is None else {"spread": spread})
        return rows


def create_app(
    model: Model,
    *,
    name: str = "model",
    examples: Table | Sequence[Mapping[str, Any]] | None = None,
    limits: Limits | None = None,
    token: str | None = None,
    points: PointPredictor | None = None,
) -> FastAPI:
    """Creates the web application of a model: the REST API and the page.

    Arguments:
        model: Trained model.
        name: Name that the page shows.
        examples: Rows that the page offers as examples, such as `data.test`, or rows as JSON; None for none.
        limits: Limits of the server; by default those of `Limits()`.
        token: Token that every request to the API must carry; None if requests need none.
        points: Program that computes point predictions instead of the model, such as `polymodal.onnx.Predictor`.

    Returns:
        An ASGI application. `uvicorn.run(app)` serves it.

    Raises:
        TypeError: The model is not a model.

    Example:
        >>> from fastapi.testclient import TestClient
        >>> from polymodal import Label, Schema, Vector, build
        >>> model = build("mac-wae", Schema({"grams": Vector(1), "kind": Label(2, names=("owl", "emu"))}))
        >>> with TestClient(create_app(model)) as client:
        ...     answer = client.post("/api/translate", json={"rows": [{"grams": 300.0}], "to": ["kind"]})
        >>> answer.json()["rows"][0]["kind"] in ("owl", "emu")
        True
    """
    check_model(model)
    service = Service(model.eval(), name, examples, limits or Limits(), points)

    @asynccontextmanager
    async def run(app: Any) -> Any:
        yield
        await asyncio.to_thread(service.queue.close)

    app = FastAPI(
        title=f"polymodal: {name}",
        version=version("polymodal"),
        description="Predicts any modality from any subset of the others.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=run,
    )
    _add_endpoints(app, service)
    _add_pages(app)
    app.add_exception_handler(RequestError, _answer_refusal)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(HTTPException, _answer_http_error)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(RequestValidationError, _answer_validation_error)  # pyright: ignore[reportArgumentType]
    endpoints = frozenset(route.path for route in app.routes if hasattr(route, "path"))  # pyright: ignore[reportAttributeAccessIssue]
    app.add_middleware(Guard, service.limits, token, service.metrics, endpoints)  # pyright: ignore[reportArgumentType]
    return app


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


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_endpoints(app: FastAPI, service: Service) -> None:
    """Adds the endpoints of the REST API."""
    documents = Documents(service.reader, service.example)
    object_ = {"application/json": {"schema": {"type": "object"}}}
    posted = (400, 401, 408, 413, 415, 422, 429, 503)

    def answer(content: bytes) -> Response:
        return Response(content, media_type="application/json")

    async def write(small: bool, function: Callable[..., bytes], *arguments: Any) -> Response:
        return answer(function(*arguments) if small else await asyncio.to_thread(function, *arguments))

    async def health(request: Request) -> Response:
        """Whether the server is ready."""
        return answer(write_json({"status": "ok", **service.identify()}))

    async def schema(request: Request) -> Response:
        """The model's modalities with shapes, classes, units and example values, and the server's limits."""
        return answer(write_json(service.describe()))

    async def example(index: int = Query(default=0, ge=0, le=2**31)) -> Response:
        """An example row."""
        if index >= service.count:
            raise RequestError(404, f"there are {service.count} example rows; got index {index}; choose a smaller one")
        return answer(write_json({"index": index, "count": service.count, "row": service.read_example(index)}))

    async def translate(request: Request) -> Response:
        """Predict modalities of rows from any of their other modalities."""
        document, small = await service.read_body(request)
        read = service.reader.read_translation
        task = read(document) if small else await asyncio.to_thread(read, document)
        _check_sampling(service.model, task)
        prediction = await service.compute(request, service.queue.submit(task, len(task.batch)))
        return await write(small and task.sampling is None, service.write_prediction, task, prediction)

    async def embed(request: Request) -> Response:
        """Compute the latent codes of rows from any of their modalities."""
        document, small = await service.read_body(request)
        read = service.reader.read_embedding
        task = read(document) if small else await asyncio.to_thread(read, document)
        prediction = await service.compute(request, service.queue.submit(task, len(task.batch)))
        return await write(small, lambda: write_json({"codes": prediction.codes.tolist()}))

    async def sample(request: Request) -> Response:
        """Sample rows from the prior, in which all modalities agree."""
        document, _ = await service.read_body(request)
        count, to, seed = service.reader.read_sample(document)
        future = service.queue.submit_alone(lambda: service.predictor.sample(count, to, seed))
        values = await service.compute(request, future)
        return await write(False, lambda: write_json({"rows": service.reader.write_rows(values)}))

    async def metrics(request: Request) -> Response:
        """Metrics in the format of Prometheus."""
        return Response(service.metrics.write(), media_type="text/plain; version=0.0.4")

    text = {"text/plain": {"schema": {"type": "string"}}}
    app.get("/api/health", responses=describe_answers((503,), object_), response_class=Response)(health)
    app.get("/api/schema", responses=describe_answers((401,), object_), response_class=Response)(schema)
    app.get("/api/example", responses=describe_answers((401, 404, 422), object_), response_class=Response)(example)
    app.get("/api/metrics", responses=describe_answers((401,), text), response_class=Response)(metrics)
    for handler, body in (
        (translate, documents.make_translation()),
        (embed, documents.make_embedding()),
        (sample, documents.make_sample()),
    ):
        responses = describe_answers(posted, object_)
        app.post(f"/api/{handler.__name__}", responses=responses, response_class=Response, openapi_extra=body)(handler)


def _check_sampling(model: Model, task: Task) -> None:
    """Checks that the model has posterior samples with these options."""
    options = task.sampling
    if options is None:
        return
    try:
        model.check_samples(options.samples, None, options.seed, options.steps, options.guidance, options.temperature)
    except ValueError as error:
        raise RequestError(422, str(error)) from None


def _add_pages(app: FastAPI) -> None:
    """Adds the page and its files, which the package contains."""
    files = {path.name: path for path in PAGE.iterdir()} if PAGE.is_dir() else {}

    async def send_file(name: str) -> Response:
        if name not in files or (kind := TYPES.get(files[name].suffix)) is None:
            raise RequestError(404, ERRORS[404])
        content = await asyncio.to_thread(files[name].read_bytes)
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    async def index() -> Response:
        return await send_file("index.html")

    app.get("/", include_in_schema=False)(index)
    app.get("/page/{name}", include_in_schema=False)(send_file)


async def _answer_refusal(request: Request, error: RequestError) -> Response:
    return _answer_error(error.status, error.message, error.retry)


async def _answer_http_error(request: Request, error: Any) -> Response:
    return _answer_error(error.status_code, ERRORS.get(error.status_code, str(error.detail)), None, error.headers)


async def _answer_validation_error(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    return _answer_error(422, f"{first['loc'][-1]} is not valid: {first['msg']}")


def _answer_error(
    status: int, message: str, retry: int | None = None, more: Mapping[str, str] | None = None
) -> Response:
    body, headers = write_error(status, message, retry)
    return Response(body, status, {**{name.decode(): value.decode() for name, value in headers}, **(more or {})})
