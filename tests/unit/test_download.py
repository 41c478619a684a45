"""Files from a server on this machine: whole and right under their names, or not there."""

import fcntl
import hashlib
import os
import re
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import numpy as np
import pytest
from disks import full_at

from polymodal.datasets import transfer
from polymodal.datasets.download import Remote, fetch
from polymodal.runtime import progress

DATA = np.random.default_rng(0).bytes(3_000_001)
OTHER = np.random.default_rng(1).bytes(len(DATA))
CUT = 1_000_000
BY_HAND = "get it from the authors' page"
PAGE = b"\n<!DOCTYPE html><html><title>Sign in</title></html>"


class Server(ThreadingHTTPServer):
    """Serves one file, in the ways that `answers` names, one after another; the last one stays."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.answers, self.tag = DATA, ["whole"], '"one"'
        self.asked, self.released = [], threading.Event()

    def remote(self, **changes):
        known = {"url": f"http://127.0.0.1:{self.server_port}/file.bin", "path": "a/file.bin"}
        return Remote(**{**known, "md5": md5(DATA), "size": len(DATA), **changes})

    def ranges(self):
        return [asked.get("Range") for asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append({name: self.headers[name] for name in ("Range", "If-Range") if name in self.headers})
        kind = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        data = OTHER if kind == "before" else server.data
        if isinstance(kind, int):
            self.send_error(kind)
            return
        same = self.headers.get("If-Range", server.tag) == server.tag
        start = (
            int(self.headers["Range"][6:-1]) if "Range" in self.headers and same and "rangeless" not in str(kind) else 0
        )
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        start += 5 * (kind == "elsewhere")
        if server.tag:
            self.send_header("ETag", server.tag)
        if kind != "unmeasured":
            self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(data[start:][: CUT if kind in ("cut", "rangeless-cut", "stuck", "before") else None])
        if kind == "before":  # and from now on there is another version of the file
            server.tag = server.tag and server.tag.replace("one", "two")
        if kind == "stuck":
            server.released.wait(300)

    def log_message(self, *told):
        pass


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def server():
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.released.set()
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(transfer, "TIMEOUT", 60.0)


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def get(server, root, **changes):
    fetch([server.remote(**changes)], root, BY_HAND)
    assert (root / "a" / "file.bin").read_bytes() == DATA
    assert files(root) == ["a/file.bin"]


def refused(kind, server, root, **changes):
    """The one sentence that a fetch ends with, which leaves nothing under the file's name."""
    with pytest.raises(kind) as caught:
        fetch([server.remote(**changes)], root, BY_HAND)
    assert not (root / "a" / "file.bin").exists()
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_file_comes_whole_and_once(server, tmp_path):
    get(server, tmp_path / "root")
    get(server, tmp_path / "root")
    assert server.asked == [{}]


def test_several_files_come_and_only_those_that_are_not_right(server, tmp_path):
    (tmp_path / "right").write_bytes(DATA)
    (tmp_path / "of-this-size").write_bytes(OTHER)
    (tmp_path / "short").write_bytes(DATA[:-1])
    fetch([server.remote(path=name) for name in ("right", "of-this-size", "short", "new")], tmp_path, BY_HAND)
    assert {path.name for path in tmp_path.iterdir()} == {"right", "of-this-size", "short", "new"}
    assert all(path.read_bytes() == DATA for path in tmp_path.iterdir())
    assert len(server.asked) == 3


def test_files_that_are_there_are_not_written(server, tmp_path):
    get(server, tmp_path)
    for folder in (tmp_path / "a", tmp_path):
        folder.chmod(0o555)
    try:
        get(server, tmp_path)
    finally:
        for folder in (tmp_path, tmp_path / "a"):
            folder.chmod(0o755)


def test_a_cut_connection_is_gone_on_with(server, tmp_path):
    server.answers = ["cut", "cut", "whole"]
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert server.asked[1]["If-Range"] == '"one"'


def test_as_many_cuts_as_it_takes_while_each_answer_brings_more(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0))
    server.answers = ["cut", 503, "cut", 503, "cut", 503, "whole"]
    get(server, tmp_path)
    assert len(server.asked) == 7


def test_a_server_that_never_gets_further_is_given_up(server, tmp_path):
    server.answers = ["cut", "rangeless-cut"]
    said = refused(ConnectionError, server, tmp_path)
    assert said.endswith(f"could not be fetched: the connection ended after 1,000,000 of 3,000,001 bytes; {BY_HAND}")
    assert len(server.asked) == 1 + len(transfer.PAUSES)
    assert files(tmp_path) == ["a/.file.bin.partial"]  # to go on with


def test_a_server_without_range_starts_anew(server, tmp_path):
    server.answers = ["cut", "rangeless"]
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={CUT}-"]


def test_another_part_than_was_asked_for_is_not_taken(server, tmp_path):
    server.answers = ["cut", "elsewhere", "whole"]
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={CUT}-", None]


def test_a_silent_server_is_asked_again(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(transfer, "TIMEOUT", 1.0)
    server.answers = ["stuck", "whole"]
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={CUT}-"]
    assert "no data arrived for 1 s; trying again in 0 s" in capsys.readouterr().err


@pytest.mark.parametrize("tag", ['"one"', None, 'W/"one"'])
def test_pieces_of_two_versions_are_never_put_together(server, tmp_path, tag):
    server.tag, server.answers = tag, ["before", "whole"]
    get(server, tmp_path)
    assert ("If-Range" in server.asked[1]) == (tag == '"one"')


@pytest.mark.parametrize("left", [b"", DATA[:7], DATA, OTHER, OTHER[:7], DATA + b"x"])
def test_what_an_earlier_process_left_is_gone_on_with_or_replaced(server, tmp_path, left):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.bin.partial").write_bytes(left)
    get(server, tmp_path)
    if left == DATA[:7]:
        assert server.ranges() == ["bytes=7-"]


def test_ctrl_c_leaves_what_has_come(server, tmp_path, monkeypatch):
    def stopped(pieces, *told):
        yield from islice(pieces, 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "show_download_progress", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch([server.remote()], tmp_path, BY_HAND)
    (left,) = (tmp_path / "a").iterdir()
    done = left.stat().st_size
    assert 0 < done < len(DATA)
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={done}-"]


def test_another_checksum_is_refused(server, tmp_path):
    said = refused(ValueError, server, tmp_path, md5=md5(OTHER))
    assert said == (
        f"{server.remote().url} must give 3,000,001 bytes with md5 {md5(OTHER)}; got the same number of bytes with "
        f"md5 {md5(DATA)}; {BY_HAND}"
    )
    assert not files(tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", ["whole", "unmeasured"])
@pytest.mark.parametrize(
    ("data", "came"), [(DATA + b"x", "(3,000,002|more) bytes"), (PAGE, "a web page in its place, '<!DOCTYPE html>")]
)
def test_another_file_is_refused(server, tmp_path, data, came, answer):
    server.data, server.answers = data, [answer]
    said = refused(ValueError, server, tmp_path)
    assert re.search(f"bytes with md5 {md5(DATA)}; got {came}.*; {BY_HAND}", said)
    assert not files(tmp_path)
    assert len(server.asked) == 1


def test_a_page_to_sign_in_on_leaves_what_has_come(server, tmp_path):
    server.answers = ["cut", 503]
    refused(ConnectionError, server, tmp_path)
    server.data, server.tag, server.answers = PAGE, None, ["rangeless"]
    assert "got a web page in its place" in refused(ValueError, server, tmp_path)
    server.data, server.answers, server.asked = DATA, ["whole"], []
    get(server, tmp_path)
    assert server.ranges() == [f"bytes={CUT}-"]


def test_a_page_of_the_very_size_is_called_a_page(server, tmp_path):
    server.data = PAGE
    assert "got a web page in its place" in refused(ValueError, server, tmp_path, size=len(PAGE))


def test_a_smaller_file_on_the_server_than_what_is_there_is_refused(server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.bin.partial").write_bytes(DATA[:100])
    server.data = DATA[:50]
    assert "got 50 bytes" in refused(ValueError, server, tmp_path)
    assert server.ranges() == ["bytes=100-", None]
    assert not files(tmp_path)


def test_what_is_not_there_is_not_asked_for_again(server, tmp_path):
    server.answers = [404]
    said = refused(ConnectionError, server, tmp_path)
    assert said == f"{server.remote().url} could not be fetched: the server answered 404 Not Found; {BY_HAND}"
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_after_growing_pauses(server, tmp_path, monkeypatch, capsys):
    waited = []
    monkeypatch.setattr(transfer, "PAUSES", (0.5, 2.0, 8.0))
    monkeypatch.setattr(transfer.time, "sleep", waited.append)
    server.answers = [503, 503, "whole"]
    get(server, tmp_path)
    assert waited == [0.5, 2.0]
    assert "file.bin: the server answered 503 Service Unavailable; trying again in 0.5 s\n" in capsys.readouterr().err


def test_no_server_is_one_sentence_at_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", (100.0,))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file.bin"
        said = refused(ConnectionError, server, tmp_path, url=url)
    assert said == f"{url} could not be fetched: Connection refused; {BY_HAND}"


def test_no_net_is_one_sentence_at_once(server, tmp_path, monkeypatch):
    def nowhere(*told, **named):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(transfer, "PAUSES", (100.0,))
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    said = refused(ConnectionError, server, tmp_path, url="http://example.org/file.bin")
    assert said == f"http://example.org/file.bin could not be fetched: Name or service not known; {BY_HAND}"


def test_a_server_that_goes_away_is_asked_again(server, tmp_path, monkeypatch, capsys):
    server.answers = ["cut"]
    monkeypatch.setattr(transfer.time, "sleep", lambda pause: (server.shutdown(), server.server_close()))
    said = refused(ConnectionError, server, tmp_path)
    assert "Connection refused" in said
    assert capsys.readouterr().err.count("Connection refused; trying again") == len(transfer.PAUSES) - 1
    assert files(tmp_path) == ["a/.file.bin.partial"]


def test_a_full_disk_leaves_nothing_under_the_name(server, tmp_path):
    with full_at(2_000_000):
        said = refused(OSError, server, tmp_path)
    assert said.startswith(f"{tmp_path}/a/.file.bin.partial could not be written: File too large;")
    assert files(tmp_path) == ["a/.file.bin.partial"]
    left = (tmp_path / "a" / ".file.bin.partial").stat().st_size
    assert f"3,000,001 bytes are needed, and {left:,} have arrived" in said
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={left}-"]


def test_a_folder_that_cannot_be_made_is_one_sentence(server, tmp_path):
    (tmp_path / "b").write_text("a file")
    said = refused(OSError, server, tmp_path, path="b/c/file.bin")
    assert "could not be written: Not a directory" in said


def test_processes_wait_for_each_other(server, tmp_path, capsys):
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    other = threading.Thread(target=get, args=(server, tmp_path))
    other.start()
    until, printed = time.monotonic() + 300, ""
    while f"another process fetches into {tmp_path}; waiting for it" not in printed:
        printed += capsys.readouterr().err
        assert time.monotonic() < until, printed
        time.sleep(0.005)
    assert other.is_alive()
    assert not server.asked
    os.close(folder)
    other.join()
    assert (tmp_path / "a" / "file.bin").exists()


def test_progress_is_told_in_bytes(server, tmp_path, capsys):
    get(server, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    told = [re.fullmatch(r"file\.bin: (\d+) %, [\d.]+ [kM]B of 3\.0 MB, \d+ s left", line) for line in lines]
    assert all(told), lines
    percents = [int(match[1]) for match in told if match]
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    assert len(percents) <= progress.LINES


def test_progress_goes_on_where_the_file_does(server, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.bin.partial").write_bytes(DATA[: len(DATA) // 2 + 1])
    get(server, tmp_path)
    percents = [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()]
    assert percents[0] >= 50


def test_the_time_left_is_that_of_the_bytes_that_come(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.show_download_progress([b"x" * 100, b"y" * 100], "it", 1000, 600)) == [b"x" * 100, b"y" * 100]
    assert capsys.readouterr().err.splitlines() == [
        "it: 70 %, 700 bytes of 1.0 kB, 30 s left",
        "it: 80 %, 800 bytes of 1.0 kB, 20 s left",
    ]


def test_a_terminal_shows_a_bar_that_goes_on_where_the_file_does(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert b"".join(progress.show_download_progress([b"x" * 100], "file.bin", 1000, 600)) == b"x" * 100
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "file.bin" in told
    assert "0.7/1.0 kB" in told
