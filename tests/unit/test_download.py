"""Files from a server on this machine: whole and right under their names, or not there."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from polymodal.datasets import download
from polymodal.datasets.download import Remote, fetch

DATA = np.random.default_rng(0).bytes(3_000_001)
BY_HAND = "get it from the authors' page"


class Server(ThreadingHTTPServer):
    """Serves one file, in the ways that `answers` names, one after another; the last one stays."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.answers, self.asked, self.tag = DATA, ["whole"], [], '"one"'

    def remote(self, **changes):
        known = {"url": f"http://127.0.0.1:{self.server_port}/file.bin", "path": "a/file.bin"}
        return Remote(**{**known, "md5": md5(DATA), "size": len(DATA), **changes})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append({name: self.headers[name] for name in ("Range", "If-Range") if name in self.headers})
        kind = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if isinstance(kind, int):
            self.send_error(kind)
            return
        start = int(self.headers["Range"][6:-1]) if "Range" in self.headers and kind != "rangeless" else 0
        if self.headers.get("If-Range", server.tag) != server.tag:
            start = 0
        if start >= len(server.data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.tag)
        if kind != "unmeasured":
            self.send_header("Content-Length", str(len(server.data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.end_headers()
        body = server.data[start:]
        self.wfile.write(body[:1_000_000] if kind in ("cut", "stuck") else body)
        if kind == "stuck":
            server.released.wait(5)

    def log_message(self, *told):
        pass


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def server():
    made = Server()
    made.released = threading.Event()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.released.set()
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(download, "TIMEOUT", 5.0)


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_file_comes_whole_and_once(server, tmp_path):
    fetch([server.remote()], tmp_path / "root", BY_HAND)
    fetch([server.remote()], tmp_path / "root", BY_HAND)
    assert (tmp_path / "root" / "a" / "file.bin").read_bytes() == DATA
    assert files(tmp_path) == ["root/a/file.bin"]
    assert server.asked == [{}]


def test_several_files_come_and_only_those_that_are_wrong(server, tmp_path):
    (tmp_path / "right").write_bytes(DATA)
    (tmp_path / "of-this-size").write_bytes(b"x" * len(DATA))
    (tmp_path / "short").write_bytes(DATA[:-1])
    fetch([server.remote(path=name) for name in ("right", "of-this-size", "short", "new")], tmp_path, BY_HAND)
    assert all(path.read_bytes() == DATA for path in tmp_path.iterdir())
    assert len(server.asked) == 3
