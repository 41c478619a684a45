"""A server process under attack: every request gets its answer, and the next honest request is served."""

import base64
import http.client
import io
import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import polymodal as pm
from polymodal.modalities import Image, Label, Vector

pytest.importorskip("uvicorn")

SCHEMA = pm.Schema(
    {
        "photo": Image(3, 8, 8, widths=(4, 6)),
        "kind": Label(3, names=("oak", "elm", "ash"), hidden=(6,)),
        "sizes": Vector(2, center=(10.0, 5.0), scale=(2.0, 1.0), names=("height", "weight"), partial=True, hidden=(6,)),
        "words": pm.Text(5, ("one", "two", "three"), width=8, layers=1, heads=2, feedforward=8, hidden=(8,)),
    }
)
HONEST = {"rows": [{"kind": "elm", "sizes": [9.5, None]}, {"words": "one two"}], "to": ["kind", "sizes"]}
SECONDS = 3
"""Most seconds per request of the server."""


class Server:
    """A process of `polymodal serve` on loopback."""

    def __init__(self, folder: Path, *options: Any) -> None:
        command = [sys.executable, "-m", "polymodal", "serve", folder, "--port", "0", "--device", "cpu", *options]
        self.temporary = Path(tempfile.mkdtemp(dir=folder.parent))
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(
            [*map(str, command)], env=os.environ | {"TMPDIR": str(self.temporary)}, start_new_session=True, **pipes
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + self.process.communicate()[1]
        self.port = int(found[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, path: str = "/api/translate", document: Any = None, **options: Any) -> tuple[int, Any]:
        """Returns the status and the answer of a request, of any JSON or bytes."""
        body = document if isinstance(document, bytes | None) else json.dumps(document).encode()
        headers = {"Content-Type": "application/json"} | options.get("headers", {})
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(options.get("method", "GET" if body is None else "POST"), path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def refuse(self, status: int, *arguments: Any, **options: Any) -> str:
        """Returns the sentence of a refused request."""
        found, body = self.ask(*arguments, **options)
        document = json.loads(body)
        assert (found, document["status"]) == (status, status), body[:300]
        assert document["error"].isprintable()
        assert len(document["error"]) < 700
        assert not re.search(r"Traceback|File \"|site-packages", document["error"])
        return document["error"]

    def check_honest(self) -> None:
        """Checks that an honest request is served."""
        began = time.monotonic()
        status, body = self.ask(document=HONEST)
        assert status == 200, body
        assert len(json.loads(body)["rows"]) == 2
        assert time.monotonic() - began < 10

    def stop(self) -> tuple[int, str]:
        """Returns the exit code after SIGTERM, and the standard error."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("runs") / "trees"
    pm.build("mac-wae", SCHEMA, latent_dim=4, stochastic=True).save(run / "model")
    (run / "experiment.json").write_text("{}")
    (run / "examples.json").write_text(json.dumps({"rows": HONEST["rows"]}))
    return run


@contextmanager
def served(folder, *options):
    server = Server(folder, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def shared(folder):
    with served(folder, "--max-seconds", SECONDS, "--max-body", 4) as server:
        yield server
        code, errors = server.stop()
        assert code == 0
        assert "Traceback" not in errors, errors


@pytest.fixture
def server(shared):
    yield shared
    shared.check_honest()


def make_png(width, height, data=None):
    """A PNG file of zeros, or with other compressed data."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    if data is None:
        packer = zlib.compressobj(9)
        row = bytes(1 + (width + 7) // 8)
        data = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.compress(
            row * (height % 100)
        )
        data += packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def photo(content):
    return {"rows": [{"photo": base64.b64encode(content).decode()}]}


def test_image_bombs_are_refused_before_they_are_decoded(server):
    for width, height in ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)):
        began = time.monotonic()
        bomb = make_png(width, height, zlib.compress(bytes(10**6)))
        assert "pixels" in server.refuse(422, document=photo(bomb))
        assert time.monotonic() - began < 2


def test_many_large_images_end_in_time(server):
    large = base64.b64encode(make_png(7000, 7000)).decode()
    rows = min(1000, 4 * 2**20 // (len(large) + 20))
    assert "second" in server.refuse(503, document={"rows": [{"photo": large}] * rows})


@pytest.mark.parametrize(
    "damage", ["truncated", "no data", "wrong data", "empty", "a text", "a pickle", "svg", "zeros"]
)
def test_damaged_images_are_refused(server, damage):
    image = make_png(64, 64)
    content = {
        "truncated": image[: len(image) // 2],
        "no data": make_png(64, 64, b""),
        "wrong data": make_png(64, 64, b"\xff" * 100),
        "empty": b"",
        "a text": b"hello",
        "a pickle": b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "zeros": make_png(0, 0),
    }[damage]
    assert "row 0, photo" in server.refuse(422, document=photo(content))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, b'{"rows": [{"sizes": [NaN, 1]}]}'),
        (422, b'{"rows": [{"sizes": [Infinity, 1]}]}'),
        (422, b'{"rows": [{"sizes": [-1e999, 1]}]}'),
        (422, b'{"rows": [{"sizes": [1e308, 1]}]}'),
        (422, b'{"rows": [{"sizes": [1%s, 1]}]}' % (b"0" * 4000)),
        (400, b'{"rows": [{"sizes": [1%s, 1]}]}' % (b"0" * 100_000)),
        (422, b'{"rows": [%s{}]}' % (b"{}," * 10**6)),
        (400, b'{"rows": ' + b"[" * 10**6),
        (400, b'{"a":' * 10**5 + b"1" + b"}" * 10**5),
        (422, b'{"rows": ' + b"[" * 500 + b"]" * 500 + b"}"),
        (422, b'{"rows": [{"kind": {"a": 1}}]}'),
        (422, b'{"rows": [{"kind": [[]]}]}'),
        (422, b'{"rows": [{"photo": 7}]}'),
        (422, b'{"rows": [{"photo": [[1]]}]}'),
        (422, b'{"rows": [{"photo": "file:///etc/passwd"}]}'),
        (422, b'{"rows": [{"photo": "/etc/passwd"}]}'),
        (422, b'{"rows": [{"words": ["one"]}]}'),
        (422, b'{"rows": [{"sizes": "1"}]}'),
        (422, b'{"rows": "all"}'),
        (422, b'{"rows": {"kind": "elm"}}'),
        (422, b'{"rows": [{"kind": "elm", "__class__": 1}]}'),
        (422, b'{"rows": [{"kind": "elm"}], "%s": 1}' % (b"a" * 10**6)),
        (422, b'{"rows": [{"%s": 1}]}' % (b"\\u0000" * 10**5)),
        (422, b'{"rows": [{"kind": "\\ud800"}]}'),
        (422, b'{"rows": [{"kind": "elm"}], "to": ["\\ud800\\u202e"]}'),
        (422, b'{"rows": [{"words": "%s"}]}' % (b"one " * 500_000)),
        (422, b'{"rows": [{"kind": "elm"}], "samples": 1e400}'),
        (422, b'{"rows": [{"kind": "elm"}], "samples": 3, "seed": -1}'),
        (422, b'{"rows": [{"kind": "elm"}], "samples": 3, "seed": 1e19}'),
        (422, b'{"rows": [{"kind": "elm"}], "to": [["kind"]]}'),
        (422, b"null"),
        (400, b""),
        (400, b"\x00" * 1000),
        (400, b"\xef\xbb\xbf\xff{}"),
        (413, b" " * (4 * 2**20 + 1)),
    ],
)
def test_bodies_that_are_wrong_get_a_sentence(server, status, body):
    assert server.refuse(status, document=body)


def test_strange_characters_in_texts(server):
    assert server.ask(document=b'{"rows": [{"words": "\\u202e \\u0000 one \\ud83d\\ude00"}]}')[0] == 200
    assert "Unicode" in server.refuse(422, document=b'{"rows": [{"words": "\\ud800 one"}]}')


@pytest.mark.parametrize(
    "path", ["/page/..%2f..%2fguard.py", "/page/../guard.py", "/page/%00", "/page/", "/%2e%2e/etc"]
)
def test_no_other_file_is_sent(server, path):
    server.refuse(404, path)


def test_other_methods_and_names(server):
    server.refuse(405, "/api/translate", method="PUT")
    server.refuse(405, "/api/health", method="DELETE")
    server.refuse(404, "/api/translat", {"rows": []})
    server.refuse(415, document=b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"})


def read_status(connection):
    """Status of a response; 0 if the server closes the connection without one."""
    data = b""
    while b"\r\n\r\n" not in data and (some := connection.recv(4096)):
        data += some
    return int(data.split()[1]) if data.startswith(b"HTTP/1.1 ") else 0


def make_head(length, path="/api/translate"):
    lines = [f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("start", "statuses"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00" * 50, {400, 0}),
        (b"GET /api/health HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 10**6 + b"\r\n\r\n", {400, 431, 200}),
        (make_head(10**15), {413}),
        (make_head(-1), {400, 0}),
        (b"POST /api/translate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {400, 0}),
        (
            b"POST /api/translate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"100000\r\n%s\r\n" % bytes(2**20) * 5,
            {413},
        ),
    ],
)
def test_broken_http(server, start, statuses):
    with closing(server.connect()) as connection:
        try:
            connection.sendall(start)
        except ConnectionError:
            return
        assert read_status(connection) in statuses


def test_slow_bodies_get_408_and_slow_headers_are_closed(server):
    body, header, nothing = (server.connect() for _ in range(3))
    body.sendall(make_head(1000) + b'{"rows"')
    header.sendall(b"POST /api/translate HTTP/1.1\r\nHo")
    began = time.monotonic()
    server.check_honest()
    assert read_status(body) == 408
    assert read_status(header) in (0, 408)
    assert read_status(nothing) == 0
    assert time.monotonic() - began < 3 * SECONDS
    for one in (body, header, nothing):
        one.close()


def test_clients_that_go_away(server):
    content = json.dumps(HONEST | {"samples": 500}).encode()
    for place in range(60):
        connection = server.connect()
        connection.sendall((make_head(len(content)) + content)[: None if place % 2 else 40 * place])
        if place % 3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        connection.close()
    server.check_honest()
    for _ in range(100):
        if b"polymodal_waiting 0.0" in server.ask("/api/metrics")[1]:
            return
        time.sleep(0.1)
    raise AssertionError("requests of clients that have gone are still waiting")


def test_a_thousand_connections(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    content = json.dumps(HONEST).encode()
    connections: list[socket.socket] = []
    try:
        connections += [server.connect() for _ in range(1000)]
        server.check_honest()
        for connection in connections:
            connection.sendall(make_head(len(content)) + content)
        statuses = [read_status(connection) for connection in connections]
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(statuses) == {200}


def test_sigterm_finishes_what_is_in_flight(folder):
    with served(folder) as server:
        content = json.dumps(HONEST).encode()
        with closing(server.connect()) as connection:
            connection.sendall(make_head(len(content)) + content[:-9])
            server.check_honest()
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert server.process.poll() is None
            with pytest.raises(OSError, match=r"refused|reset|timed out"):
                server.connect()
            connection.sendall(content[-9:])
            assert read_status(connection) == 200
        _, errors = server.process.communicate(timeout=20)
        assert server.process.returncode == 0
        assert "Traceback" not in errors


def test_a_port_in_use_is_one_sentence(shared, folder):
    command = [sys.executable, "-m", "polymodal", "serve", folder, "--port", shared.port]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done
    assert str(shared.port) in done.stderr
    assert "Traceback" not in done.stderr


def make_form(content, **fields):
    """Body and headers of a form with a file."""
    lines = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename="../../owned.csv"\r\n\r\n'
    body = "\r\n".join([*lines, head]).encode() + content + b"\r\n--x--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=x"}


def make_parquet(table):
    pq.write_table(table, file := io.BytesIO())
    return file.getvalue()


def repeat(text, rows):
    """A table with the same text in all rows, which is small as a file."""
    return pa.table({"kind": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "int8")), [text])})


@pytest.mark.parametrize(
    ("status", "content", "named"),
    [
        (422, b"", "empty"),
        (422, b"PAR1", "Parquet"),
        (422, b"PAR1" + bytes(1000), "Parquet"),
        (422, make_parquet(pa.table({"kind": ["elm", None]}))[:-60] + bytes(60), "Parquet"),
        (422, b"\x1f\x8b\x08" + bytes(1000), "text"),
        (422, b"\x00" * 1000, "."),
        (422, b"a,b\n1,2\n", "kind.*it has a, b"),
        (422, b"photo,kind\n/etc/passwd,\n", "photo"),
        (422, make_parquet(pa.table({"photo": [b"", None], "kind": ["elm", None]})), "photo"),
        (422, b"kind," + b"a," * 1_000_000 + b"\n", "columns"),
        (503, make_parquet(repeat("a" * 2_000_000, 1_000_000)), "seconds"),
        (503, make_parquet(pa.table({"kind": pa.nulls(10_000_000, pa.string())})), "seconds"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_hostile_tables(server, status, content, named):
    body, headers = make_form(content)
    error = server.refuse(status, "/api/impute", body, headers=headers)
    assert re.search(named, error), error
    assert "polymodal-" not in error


def test_broken_forms(server):
    body, headers = make_form(b"kind\nelm\n")
    server.refuse(400, "/api/impute", b"--y\r\n", headers=headers)
    server.refuse(400, "/api/impute", body[:20], headers={"Content-Type": "multipart/form-data"})
    server.refuse(422, "/api/impute", b"--x--\r\n", headers=headers)
    server.refuse(422, "/api/impute", make_form(b"kind\nelm\n", path="/etc/passwd")[0], headers=headers)
    server.refuse(415, "/api/impute", {"file": "kind"})
    server.refuse(413, "/api/impute", make_form(bytes(5 * 2**20))[0], headers=headers)


def test_no_file_stays(server):
    body, headers = make_form(b"kind,height,weight\n" + b"elm,,\n" * 20_000)
    for place in range(10):
        with closing(server.connect()) as connection:
            head = f"POST /api/impute HTTP/1.1\r\nHost: a\r\nContent-Type: {headers['Content-Type']}\r\n"
            head += f"Content-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[: None if place else 99])
            time.sleep(0.05 * place)
    for _ in range(100):
        server.check_honest()
        if not (left := [*server.temporary.iterdir()]):
            return
        time.sleep(0.1)
    raise AssertionError(left)


@pytest.mark.slow
def test_requests_made_from_the_openapi_document(shared, tmp_path):
    pytest.importorskip("schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{shared.port}/openapi.json"]
    command += ["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-time", "50", "--seed", "1"]
    command += ["--request-timeout", str(4 * SECONDS), "--suppress-health-check", "all", "--warnings", "off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    shared.check_honest()
