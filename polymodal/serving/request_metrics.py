"""Metrics of a server in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["RequestMetrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class RequestMetrics:
    """Counters and histograms of one server.

    Arguments:
        count_waiting: Function that returns the number of waiting requests.
    """

    def __init__(self, count_waiting: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        common: Any = {"registry": self._registry}
        self._requests = Counter(
            "polymodal_requests", "Requests by endpoint and status.", ["endpoint", "status"], **common
        )
        self._errors = Counter("polymodal_errors", "Requests that got an error, by endpoint.", ["endpoint"], **common)
        self._rows = Counter("polymodal_rows", "Rows that were predicted.", **common)
        self._seconds = Histogram(
            "polymodal_seconds",
            "Seconds until a response begins, by endpoint.",
            ["endpoint"],
            buckets=SECONDS,
            **common,
        )
        self._batches = Histogram("polymodal_batch_rows", "Rows of a batch.", buckets=ROWS, **common)
        Gauge("polymodal_waiting", "Requests that wait for the model.", **common).set_function(count_waiting)

    def count_request(self, endpoint: str, status: int, seconds: float) -> None:
        """Counts a response.

        Arguments:
            endpoint: Path of the endpoint.
            status: Status code of the response.
            seconds: Seconds from the request to the beginning of the response.
        """
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)
        if status >= 400:
            self._errors.labels(endpoint).inc()

    def count_batch(self, rows: int) -> None:
        """Counts a batch of rows."""
        self._rows.inc(rows)
        self._batches.observe(rows)

    def write(self) -> bytes:
        """Returns all metrics as text."""
        return generate_latest(self._registry)
