"""The web application: endpoints of the REST API, and files of the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from polymodal.models.base import Model, check_model
from polymodal.serving.batch_predictor import PointPredictor
from polymodal.serving.docs_page import write_docs_page
from polymodal.serving.endpoints import Endpoints
from polymodal.serving.guard import Guard, write_error
from polymodal.serving.limits import Limits, RequestError
from polymodal.serving.openapi_schemas import ERRORS
from polymodal.serving.service import Service
from polymodal.serving.table_endpoint import TableEndpoint

if TYPE_CHECKING:
    from polymodal.csvfiles import Options
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


def create_app(
    model: Model,
    *,
    name: str = "model",
    examples: Table | Sequence[Mapping[str, Any]] | None = None,
    limits: Limits | None = None,
    token: str | None = None,
    points: PointPredictor | None = None,
    csv_options: Options | None = None,
) -> FastAPI:
    """Creates the web application of a model: the REST API and the page.

    Arguments:
        model: Trained model.
        name: Name that the page shows.
        examples: Rows that the page offers as examples, such as `data.test`, or rows as JSON; None for none.
        limits: Limits of the server; by default those of `Limits()`.
        token: Token that every request to the API must carry; None if requests need none.
        points: Program that computes point predictions instead of the model, such as `polymodal.onnx.Predictor`.
        csv_options: Options with which the training table was read; the defaults for CSV files of requests.

    Returns:
        An ASGI application. `uvicorn.run(app)` serves it.

    Raises:
        TypeError: The model is not a model.

    Example:
        >>> from fastapi.testclient import TestClient
        >>> from polymodal import Label, Schema, Vector, build
        >>> model = build("mac-wae", Schema({"grams": Vector(1), "kind": Label(2, names=("owl", "emu"))}))
        >>> with TestClient(create_app(model)) as client:
        ...     response = client.post("/api/translate", json={"rows": [{"grams": 300.0}], "to": ["kind"]})
        >>> response.json()["rows"][0]["kind"] in ("owl", "emu")
        True
    """
    check_model(model)
    service = Service(model.eval(), name, examples, limits or Limits(), points)

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
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
    made = Endpoints(service)
    made.add_to(app)
    TableEndpoint(service, csv_options).add_to(app)
    _add_pages(app)
    app.add_exception_handler(RequestError, _send_request_error)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(HTTPException, _send_http_error)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(RequestValidationError, _send_validation_error)  # pyright: ignore[reportArgumentType]
    endpoints = frozenset(route.path for route in app.routes if hasattr(route, "path"))  # pyright: ignore[reportAttributeAccessIssue]
    app.add_middleware(Guard, service.limits, token, service.metrics, endpoints, made.direct)  # pyright: ignore[reportArgumentType]
    return app


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

    async def docs() -> Response:
        return Response(write_docs_page(app.openapi()), media_type="text/html")

    app.get("/", include_in_schema=False)(index)
    app.get("/docs", include_in_schema=False)(docs)
    app.get("/page/{name}", include_in_schema=False)(send_file)


async def _send_request_error(request: Request, error: RequestError) -> Response:
    return _make_error_response(error.status, error.message, error.retry)


async def _send_http_error(request: Request, error: Any) -> Response:
    return _make_error_response(
        error.status_code, ERRORS.get(error.status_code, str(error.detail)), None, error.headers
    )


async def _send_validation_error(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    return _make_error_response(422, f"{first['loc'][-1]} is not valid: {first['msg']}")


def _make_error_response(
    status: int, message: str, retry: int | None = None, more: Mapping[str, str] | None = None
) -> Response:
    body, headers = write_error(status, message, retry)
    return Response(body, status, {**{name.decode(): value.decode() for name, value in headers}, **(more or {})})
