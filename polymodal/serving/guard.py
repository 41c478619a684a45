"""Middleware around all endpoints: tokens, limits on bodies, headers of responses, and metrics."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from polymodal.serving.limits import Limits, RequestError
from polymodal.serving.request_metrics import RequestMetrics

__all__ = ["Guard", "write_error"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Response]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""Headers of all responses."""
PAGE_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(self)"),
    (b"x-frame-options", b"DENY"),
]
"""Further headers of pages."""
OPEN = ("/api/health",)
"""Addresses below /api that need no token."""


def write_error(status: int, message: str, retry: int | None = None) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Returns the body and the headers of an error."""
    body = json.dumps({"error": message, "status": status}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry is not None:
        headers.append((b"retry-after", str(retry).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return body, headers


class Guard:
    """Checks requests before they reach the application, and adds headers to its responses.

    Arguments:
        app: The application.
        limits: Limits of the server.
        token: Token that requests must carry; None if they need none.
        metrics: Metrics of the server.
        endpoints: Paths of the endpoints, for metrics. Others are counted together.
        direct: Functions by path that handle POST requests without the application, whose routing takes longer than
            all else that a small request needs.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        token: str | None,
        metrics: RequestMetrics,
        endpoints: frozenset[str],
        direct: Mapping[str, Handler],
    ) -> None:
        self.app, self.limits, self.metrics, self.endpoints, self.direct = app, limits, metrics, endpoints, direct
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"]
        endpoint = path if path in self.endpoints else "other"
        started = False

        async def response(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
                if any(name == b"content-type" and b"text/html" in value for name, value in message["headers"]):
                    message["headers"] += PAGE_HEADERS
                self.metrics.count_request(endpoint, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            self._check_token(scope)
            limited = self._limit(scope, receive)
            if scope["method"] == "POST" and path in self.direct:
                made = await self.direct[path](Request(scope, limited))
                await made(scope, limited, response)
            else:
                await self.app(scope, limited, response)
        except RequestError as refusal:
            if not started:
                await self._refuse(refusal, response)
        except ClientDisconnect:  # while the body arrived
            self.metrics.count_request(endpoint, 499, time.perf_counter() - began)

    def _check_token(self, scope: MutableMapping[str, Any]) -> None:
        if self._token is None or not scope["path"].startswith("/api/") or scope["path"] in OPEN:
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, token = given.partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
            raise RequestError(401, "the header must be Authorization: Bearer TOKEN, with the server's token")

    def _limit(self, scope: MutableMapping[str, Any], receive: Receive) -> Receive:
        """Returns a function that receives the body, and raises an error if it is too large or too slow."""
        most, seconds = self.limits.body, self.limits.seconds
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > most:
            raise RequestError(
                413, f"the body must have at most {most:,} bytes; got {int(length):,}; send fewer rows at once"
            )
        end, count, is_complete = time.monotonic() + seconds, 0, False

        async def receive_part() -> Message:
            nonlocal count, is_complete
            if is_complete:
                return await receive()  # which waits until the client disconnects
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except TimeoutError:
                raise RequestError(
                    408, f"the body must arrive within {seconds} seconds, and did not; send it again"
                ) from None
            count += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if count > most:
                raise RequestError(413, f"the body must have at most {most:,} bytes, and has more; send fewer rows")
            return message

        return receive_part

    @staticmethod
    async def _refuse(refusal: RequestError, send: Send) -> None:
        body, headers = write_error(refusal.status, refusal.message, refusal.retry)
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
