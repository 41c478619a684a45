"""Limits of a server, and the error for requests that a server refuses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from polymodal.runtime.validation import check_whole

__all__ = ["Limits", "RequestError"]


@dataclass(frozen=True)
class Limits:
    """Limits of what a server accepts and computes. All numbers are at least 1.

    Arguments:
        body: Bytes of the body of a request.
        rows: Rows per request, and rows of `POST /api/sample`.
        pixels: Pixels of an image, which are counted before it is decoded.
        samples: Posterior samples per request, over all of its rows.
        seconds: Seconds after which a request that is not finished gets an error. A body that takes longer to arrive is
            refused too.
        waiting: Requests that wait for the model.
        batch: Rows and posterior samples that are predicted at once. With 1, each request is predicted alone.

    Example:
        >>> Limits(rows=10).rows, Limits().batch
        (10, 256)
    """

    body: int = 32 * 2**20
    rows: int = 1000
    pixels: int = 50_000_000
    samples: int = 1000
    seconds: int = 60
    waiting: int = 1000
    batch: int = 256

    def __post_init__(self) -> None:
        for name, number in asdict(self).items():
            check_whole(name, number)
            if number < 1:
                raise ValueError(f"{name} must be at least 1; got {number}")

    def to_json(self) -> dict[str, Any]:
        """Returns the limits by name, for programs that use the server."""
        return asdict(self)


class RequestError(Exception):
    """A request that the server does not accept.

    Arguments:
        status: HTTP status code.
        message: One sentence: what was expected, what was given and what to do.
        retry: Seconds after which the client may try again; None if the same request would fail again.
    """

    def __init__(self, status: int, message: str, retry: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry = status, message, retry
