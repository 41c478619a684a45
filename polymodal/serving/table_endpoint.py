"""The endpoint that imputes the missing cells of a table's file."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from polymodal.io.json_files import UNREADABLE
from polymodal.runtime.formatting import brief
from polymodal.serving.limits import RequestError
from polymodal.serving.openapi_schemas import Documents, describe_responses
from polymodal.serving.service import Service
from polymodal.serving.table_uploads import UploadedTable, name_upload, read_table_options

if TYPE_CHECKING:
    from polymodal.csvfiles import Options

__all__ = ["TableEndpoint"]

ERRORS = (400, 401, 408, 413, 415, 422, 429, 503)
TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
"""Media types by format."""
BLOCK = 2**16
"""Bytes of a part of a response."""
FIELD = 10_000
"""Most bytes of a field of a form."""


class TableEndpoint:
    """`POST /api/impute`.

    Arguments:
        service: What the endpoints share.
        trained: Options with which the training table was read; None if there are none.
    """

    def __init__(self, service: Service, trained: Options | None) -> None:
        self._service, self._trained = service, trained

    def add_to(self, app: FastAPI) -> None:
        """Adds the endpoint to an application."""
        content = {kind: {"schema": {"type": "string"}} for kind in TYPES.values()}
        options: dict[str, Any] = {"openapi_extra": Documents.make_file(), "response_class": Response}
        app.post("/api/impute", name="impute", responses=describe_responses(ERRORS, content), **options)(self.impute)

    async def impute(self, request: Request) -> Response:
        """Impute the missing cells of a CSV or Parquet file, and keep all other cells as they are."""
        service, end = self._service, time.monotonic() + self._service.limits.seconds
        with tempfile.TemporaryDirectory(prefix="polymodal-", ignore_cleanup_errors=True) as folder:
            path, options = await self._receive(request, Path(folder))
            # The response closes this file, which removes it. After an error, that happens with its last reference,
            # because the thread of the model may still be writing to it.
            out = tempfile.TemporaryFile()  # noqa: SIM115
            arguments = (service.model, path, self._trained, service.limits.body, options)
            table = await self._run(request, asyncio.to_thread(_run_safely, UploadedTable, *arguments))
            steps = table.impute(out)
            while rows := await self._run(request, service.queue.submit_alone(lambda: _run_safely(next, steps, 0))):
                service.metrics.count_batch(rows)
                if time.monotonic() > end:
                    most = f"at most {service.limits.seconds} seconds"
                    message = f"the imputation must take {most}, and took longer; send fewer rows"
                    raise RequestError(503, message, retry=service.limits.seconds)
            await self._run(request, asyncio.to_thread(_run_safely, table.finish, out))
        return self._send(out, path.suffix)

    async def _run(self, request: Request, work: Any) -> Any:
        return await self._service.compute(request, asyncio.ensure_future(work))

    async def _receive(self, request: Request, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Stores the file of a form in a folder, and returns its path and the options."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise RequestError(415, f"the content type must be multipart/form-data; got {brief(kind or 'none', 60)}")
        async with _open_form(request) as form:
            items = form.multi_items()
            fields = {name: value for name, value in items if isinstance(value, str)}
            uploads = [(name, value) for name, value in items if not isinstance(value, str)]
            if [name for name, _ in uploads] != ["file"]:
                found = brief(", ".join(name for name, _ in uploads) or "none", 60)
                raise RequestError(422, f"the form must have one file, in the field file; it has files in: {found}")
            file = uploads[0][1]
            try:
                options = read_table_options(fields, self._service.model.schema)
            except ValueError as error:
                raise RequestError(422, brief(error, 500)) from None
            path = folder / name_upload(await file.read(4))
            await file.seek(0)
            await asyncio.to_thread(_copy, file.file, path)
        return path, options

    def _send(self, out: BinaryIO, suffix: str) -> Response:
        size = out.seek(0, 2)
        out.seek(0)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self._service.name)[:100] or "table"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}-imputed{suffix}"',
            "Content-Length": str(size),
            "Content-Type": TYPES[suffix],  # without an encoding, which is that of the request's file
        }
        return StreamingResponse(_read_blocks(out), headers=headers)


@asynccontextmanager
async def _open_form(request: Request) -> AsyncIterator[Any]:
    async with request.form(max_files=1, max_fields=20, max_part_size=FIELD) as form:
        yield form


async def _read_blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block


def _copy(source: BinaryIO, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target)


def _run_safely(function: Any, *arguments: Any) -> Any:
    """Calls a function that reads a table. Whatever the table makes it raise becomes an error about the table.

    Raises:
        ValueError: The table cannot be read.
    """
    try:
        return function(*arguments)
    except UNREADABLE as error:
        reason = re.sub(r"\S*polymodal-\S*/table\.(csv|parquet)", "the file", str(error))
        if not isinstance(error, ValueError):
            reason = f"the table must be a file that can be read: {reason}"
        raise ValueError(brief(reason, 400)) from error
