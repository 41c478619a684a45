"""Downloads a single file from the internet, with retries, resumption, and a checksum."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import say, show_download_progress

__all__ = ["Remote", "Transfer", "md5_of"]

PAUSES = (1.0, 4.0, 15.0, 60.0)
"""Seconds before each retry, after successive attempts without new data."""
TIMEOUT = 30.0
"""Seconds without data after which a connection counts as broken."""
PIECE = 2**18
"""Largest number of bytes that are read at once."""
PASSING = {408, 429, 500, 502, 503, 504}
"""HTTP status codes of temporary errors."""
NOBODY = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
"""Error numbers after which a retry is pointless, unless the server has responded before."""


@dataclass(frozen=True)
class Remote:
    """A file on the internet.

    Arguments:
        url: Address of the file.
        path: Path of the downloaded file, relative to the root.
        md5: MD5 checksum in hexadecimal digits.
        size: Size in bytes.
        unpack: Whether the file is an archive, .zip or .tar of any compression, that is unpacked into the root. The
            archive is kept, and may be removed.
    """

    url: str
    path: str
    md5: str
    size: int
    unpack: bool = False


@dataclass
class Transfer:
    """The download of one file.

    Arguments:
        remote: File to download.
        path: Path of the downloaded file.
        by_hand: Instructions to get the file by hand, for the error messages.
        tag: ETag of this version of the file.
        answered: Whether the server has ever responded.
        pieced: Whether the partial file comes from several responses.
        partial: Path of the partial file.
    """

    remote: Remote
    path: Path
    by_hand: str
    tag: str | None = None
    answered: bool = False
    pieced: bool = False
    partial: Path = field(init=False)

    def __post_init__(self) -> None:
        self.partial = self.path.with_name(f".{self.path.name}.partial")

    def run(self) -> None:
        """Downloads the file to its path.

        Raises:
            ConnectionError: The server cannot be reached, or does not provide the file.
            OSError: The file cannot be written.
            ValueError: The size or the checksum is wrong.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.pieced = _size(self.partial) > 0
            self._receive()
            came = md5_of(self.partial)
            if came != self.remote.md5 and self.pieced:  # possibly parts of two versions of the file
                self.partial.unlink()
                self._receive()
                came = md5_of(self.partial)
            if came != self.remote.md5:
                self._refuse(f"the same number of bytes with md5 {came}")
            self.partial.replace(self.path)
        except OSError as error:
            if error.errno is None:  # raised by this module
                raise
            raise OSError(
                f"{self.partial} could not be written: {error.strerror}; {self.remote.size:,} bytes are needed, and "
                f"{_size(self.partial):,} have arrived, from which the next call resumes"
            ) from error

    def _receive(self) -> None:
        """Requests the file, with retries, until it is complete."""
        failures, most = 0, _size(self.partial)
        while _size(self.partial) != self.remote.size:
            try:
                self._ask(_size(self.partial))
            except _Broken as broken:
                failures = 1 if _size(self.partial) > most else failures + 1
                most = max(most, _size(self.partial))
                if not broken.again or failures > len(PAUSES):
                    raise ConnectionError(f"{self.remote.url} could not be fetched: {broken}; {self.by_hand}") from None
                pause = PAUSES[failures - 1]
                say(f"{self.path.name}: {broken}; trying again in {pause:g} s")
                time.sleep(pause)

    def _ask(self, done: int) -> None:
        """Requests the file from byte `done` on, and writes the response."""
        with closing(self._open_response(done)) as response:
            if response.status == 206:
                self._check_range(response, done)
            elif (length := response.headers.get("Content-Length", "")).isdigit() and int(length) != self.remote.size:
                raise self._another(self._read(response), f"{int(length):,} bytes")  # the partial file may be correct
            else:
                done, self.tag = 0, response.headers.get("ETag")
            self.pieced = done > 0
            self._write(response, done)

    def _open_response(self, done: int) -> HTTPResponse:
        headers = {"User-Agent": "polymodal", "Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
            if self.tag and not self.tag.startswith("W/"):  # a weak tag does not guarantee identical bytes
                headers["If-Range"] = self.tag
        try:
            response = urlopen(Request(self.remote.url, headers=headers), timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            self.answered = True
            if error.code == 416:  # range not satisfiable: another version of the file
                self.partial.unlink()
            again = error.code in PASSING or error.code == 416
            raise _Broken(f"the server answered {error.code} {error.reason}", again=again) from None
        except (OSError, HTTPException) as error:
            raise self._explain(error) from None
        self.answered = True
        return response

    def _check_range(self, response: HTTPResponse, done: int) -> None:
        sent = response.headers.get("Content-Range", "")
        if sent not in {f"bytes {done}-{self.remote.size - 1}/{size}" for size in (self.remote.size, "*")}:
            self.partial.unlink()  # another version of the file; the retry starts from byte 0
            raise _Broken(f"the server sent another range than bytes {done}-{self.remote.size - 1}: {brief(sent)}")

    def _write(self, response: HTTPResponse, done: int) -> None:
        size = self.remote.size
        with (
            self.partial.open("ab" if done else "wb") as file,
            closing(show_download_progress(self._pieces(response), self.path.name, size, done)) as pieces,
        ):
            for piece in pieces:
                file.write(piece)
                done += len(piece)
                if done > size:
                    break
            file.flush()
            os.fsync(file.fileno())
        if done > size:
            self._refuse("more bytes")
        if done < size and "Content-Length" not in response.headers and _is_page(_head(self.partial)):
            self._refuse(f"{done:,} bytes")
        if done < size:
            raise _Broken(f"the connection ended after {done:,} of {size:,} bytes")

    def _pieces(self, response: HTTPResponse) -> Iterator[bytes]:
        while piece := self._read(response):
            yield piece

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read1(PIECE)
        except (OSError, HTTPException) as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> _Broken:
        """Returns the exception for a network error, with a message and whether to retry."""
        reason = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
        if isinstance(reason, TimeoutError):
            return _Broken(f"no data arrived for {TIMEOUT:g} s")
        nobody = isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in NOBODY
        hopeless = isinstance(reason, ssl.SSLCertVerificationError) or (nobody and not self.answered)
        return _Broken(brief(getattr(reason, "strerror", None) or reason), again=not hopeless)

    def _refuse(self, came: str) -> NoReturn:
        """Removes the partial file, which is not the expected one, and raises an error."""
        head = _head(self.partial)
        self.partial.unlink()
        raise self._another(head, came)

    def _another(self, head: bytes, came: str) -> ValueError:
        """Returns the error for an unexpected file, which recognises web pages by their first bytes."""
        if _is_page(head):
            came = f"a web page in its place, {brief(head[:60].decode(errors='replace'))!r}"
        return ValueError(
            f"{self.remote.url} must give {self.remote.size:,} bytes with md5 {self.remote.md5}; got {came}; "
            f"{self.by_hand}"
        )


class _Broken(Exception):  # noqa: N818 (it never leaves this module)
    """An incomplete response, and whether to retry."""

    def __init__(self, why: str, *, again: bool = True) -> None:
        super().__init__(why)
        self.again = again


def md5_of(path: Path) -> str:
    """Computes the MD5 checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # pyright: ignore[reportArgumentType]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_page(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
