"""What may stand in the place of a file: contents of other kinds, and what is no file."""

import io
import os
import zipfile

import numpy as np

GENERATOR = np.random.default_rng(0)


def zipped(**files):
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def flipped(content):
    made = bytearray(content)
    for place in GENERATOR.integers(0, max(1, min(len(made), 400)), 6):
        made[place] ^= 0xFF
    return bytes(made)


CONTENTS = {
    "nothing": lambda _: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "its first bytes": lambda whole: whole[:9],
    "flipped bytes": flipped,
    "zeros": lambda _: bytes(4096),
    "noise": lambda _: np.random.default_rng(1).bytes(4096),
    "text": lambda _: b"hello\n",
    "brackets": lambda _: b"[" * 9000,
    "braces": lambda _: b"{" * 9000,
    "a page": lambda _: b"<!DOCTYPE html><html><body>404</body></html>",
    "latin-1": lambda _: "ä,ö\n1,2\n".encode("latin-1"),
    "utf-16": lambda _: "a,b\n1,2\n".encode("utf-16"),
    "an image": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(64),
    "an archive": lambda _: zipped(x=b"y"),
    "gzip": lambda _: b"\x1f\x8b\x08" + bytes(40),
    "a list": lambda _: b"[1, 2]",
    "an object of other names": lambda _: b'{"a": {"b": [1]}}',
    "null": lambda _: b"null",
    "a huge number": lambda _: b'{"format": 1' + b"0" * 400 + b', "rows": 1e999}',
    "escape sequences": lambda _: b"\x1b]0;x\x07\x1b[31m",
}
SHAPES = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a circle of links": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
}
