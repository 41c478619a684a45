"""A client that keeps many connections to a server busy, and records what came back and when.

It runs in a process of its own, so that it shares no interpreter with the server, and imports nothing heavy:
`python -m benchmarks.load_client PORT REQUESTS SECONDS CLIENTS`. REQUESTS is a JSON file with a list of bodies for
`POST /api/translate`. The result is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

__all__ = ["run"]

LIMIT = 60.0
"""Number of seconds after which an response counts as dropped."""


class Load:
    """Requests that are sent in a random order by clients that each wait for their response.

    Arguments:
        port: Port of the server on this machine.
        bodies: Bodies of the requests.
        seconds: Time during which requests are sent.
    """

    def __init__(self, port: int, bodies: list[str], seconds: float) -> None:
        self.port, self.end = port, time.perf_counter() + seconds
        self.requests = [self._frame(body.encode()) for body in bodies]
        self.seconds: list[float] = []
        self.failed: dict[str, int] = {}
        self.responses: list[set[bytes]] = [set() for _ in bodies]

    @staticmethod
    def _frame(body: bytes) -> bytes:
        head = (
            f"POST /api/translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        return head.encode() + b"\r\n\r\n" + body

    async def run(self, clients: int) -> dict[str, Any]:
        """Sends requests from all clients until the time is over, and waits for the last responses."""
        began = time.perf_counter()
        await asyncio.gather(*(self._send_requests(random.Random(client)) for client in range(clients)))
        return {
            "elapsed": time.perf_counter() - began,
            "latencies": self.seconds,
            "failed": self.failed,
            "responses": [[body.decode() for body in found] for found in self.responses],
        }

    async def _send_requests(self, generator: random.Random) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        while time.perf_counter() < self.end:
            place = generator.randrange(len(self.requests))
            began = time.perf_counter()
            writer.write(self.requests[place])
            try:
                status, body = await asyncio.wait_for(self._read_answer(reader), LIMIT)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self._note_failure(type(error).__name__)
                return
            if status != b"200":
                self._note_failure(status.decode())
                continue
            self.seconds.append(time.perf_counter() - began)
            self.responses[place].add(body)
        writer.close()

    @staticmethod
    async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return head.split(b" ", 2)[1], await reader.readexactly(int(length))

    def _note_failure(self, name: str) -> None:
        self.failed[name] = self.failed.get(name, 0) + 1


def run(port: int, bodies: list[str], seconds: float, clients: int) -> dict[str, Any]:
    """Returns the latencies in seconds, the failures by name, and the different responses to each request."""
    return uvloop.run(Load(port, bodies, seconds).run(clients))


if __name__ == "__main__":
    port, file, seconds, clients = sys.argv[1:]
    json.dump(run(int(port), json.loads(Path(file).read_text()), float(seconds), int(clients)), sys.stdout)
