"""The server process: sockets, signals, and the line that says where it is."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from polymodal.serving.idle_connections import limit_idle_connections

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["serve"]

BACKLOG = 2048
"""Connections that may wait to be accepted."""


def serve(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    seconds: int = 60,
    announce: Callable[[str], object] = print,
) -> None:
    """Serves an application until SIGINT or SIGTERM, and then finishes the requests that it has begun.

    Arguments:
        app: Result of `create_app`.
        host: Address to listen on.
        port: Port; 0 chooses a free one.
        seconds: Seconds that requests in flight have to finish at the end, and that a connection may stay open without
            a request.
        announce: Function that is called with the address once the server is listening.

    Raises:
        OSError: The address is in use or does not exist.
    """
    _allow_many_files()
    listener = _listen(host, port)

    class Server(uvicorn.Server):
        """A server that reports its address, and ends without an error after a signal."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
                    loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                shown = f"[{host}]" if ":" in host else host
                announce(f"http://{shown}:{listener.getsockname()[1]}")

    config = uvicorn.Config(
        app,
        http=limit_idle_connections(seconds),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        backlog=BACKLOG,
        timeout_graceful_shutdown=seconds,
    )
    with listener:
        Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens on an address.

    Raises:
        OSError: The address is in use or does not exist; the message says what to do.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"the server must be able to listen on {host}, port {port}: {reason}; choose another --host or --port, and "
            "--port 0 for a free one"
        ) from error


def _allow_many_files() -> None:
    """Raises the limit of open files to what the system allows, because each connection is one."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
