"""A limit on the time that a connection may stay open without a complete request header."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["limit_idle_connections"]


def limit_idle_connections(seconds: float) -> type[asyncio.Protocol]:
    """Returns uvicorn's HTTP protocol with connections that are closed if no request arrives.

    uvicorn itself waits forever for the header of a request, so that clients which send it byte by byte, or not at all,
    would use up all connections. A connection is checked every `seconds` seconds, and closed if no request is in
    progress and none has begun since the check before.

    Arguments:
        seconds: Seconds between two checks.
    """

    class Protocol(AutoHTTPProtocol):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
        loop: Any
        transport: Any
        cycle: Any = None
        """Latest request of the connection; None before the first."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._connection = transport
            self._before = self.cycle
            self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            super().connection_lost(exc)

        def _check(self) -> None:
            is_idle = self.cycle is None or self.cycle.response_complete
            if is_idle and self.cycle is self._before:
                self._connection.close()
                return
            self._before = self.cycle
            self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    return Protocol
