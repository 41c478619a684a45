"""Decoding the bytes of a text file to characters, and encoding them to the same bytes again."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from pathlib import Path
from typing import NamedTuple

from polymodal.csvfiles.options import kind
from polymodal.runtime.formatting import brief

__all__ = ["Text", "pack", "read_text", "unpack"]

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and their encodings; a longer mark comes before a shorter one that it starts with."""
WITHOUT_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""Encodings that write a byte order mark, and the same encodings without it."""


class Text(NamedTuple):
    """The characters of a file, and their encoding."""

    content: str
    mark: bytes
    """The byte order mark; empty if the file has none."""
    encoding: str
    exact: bool
    """Whether encoding the characters reproduces the bytes of the file."""

    def encode(self, content: str) -> bytes:
        """Encodes other characters as in this file.

        Raises:
            ValueError: The encoding does not have a character, or cannot reproduce the bytes of the file.
        """
        if not self.exact:
            raise ValueError(
                f"a file in {self.encoding} cannot be written with the bytes that it had; convert it to UTF-8"
            )
        try:
            return self.mark + content.encode(self.encoding)
        except UnicodeEncodeError as error:
            odd = content[error.start]
            raise ValueError(
                f"the file's encoding, {self.encoding}, must have every character that is imputed, and has no "
                f"{odd!r}; convert the file to UTF-8"
            ) from None


def unpack(path: Path) -> bytes:
    """Returns the bytes of a file, decompressed if its ending is that of a compressed file.

    Raises:
        ValueError: The compressed file is damaged.
    """
    content = path.read_bytes()
    ending = kind(path)
    try:
        if ending.endswith(".gz"):
            return gzip.decompress(content)
        if ending.endswith(".bz2"):
            return bz2.decompress(content)
        return lzma.decompress(content) if ending.endswith(".xz") else content
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} must be a complete compressed file: {brief(error)}; restore it") from error


def pack(path: Path, content: bytes) -> bytes:
    """Returns the bytes to write to a file, compressed as the ending of its name requires."""
    ending = kind(path)
    if ending.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    if ending.endswith(".bz2"):
        return bz2.compress(content)
    return lzma.compress(content) if ending.endswith(".xz") else content


def read_text(path: Path, encoding: str | None = None, preferred: str | None = None) -> Text:
    """Reads the characters of a file.

    A byte order mark determines the encoding. Without a mark, the encoding is UTF-8 unless another one is given.

    Arguments:
        path: The file.
        encoding: Encoding of the file, if it is known.
        preferred: Encoding to try for a file that is not UTF-8 and has no byte order mark.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file has another encoding, which the error suggests, or it contains a NUL character.
    """
    content = unpack(path)
    mark, found = next(((mark, name) for mark, name in MARKS if content.startswith(mark)), (b"", None))
    if encoding and found and not found.startswith(codecs.lookup(encoding).name.removesuffix("-sig")):
        raise ValueError(
            f"{path} must be in the given encoding, {encoding}, and begins as {found}; leave --encoding out"
        )
    if b"\0" in content and not (found or encoding):
        raise _zero(path, content)
    tried = [found] if found else [encoding] if encoding else ["utf-8", *([preferred] if preferred else [])]
    for name in tried:
        plain = _plain(name)
        try:
            text = content[len(mark) :].decode(plain)
        except (UnicodeError, ValueError):
            continue
        if "\0" in text:
            raise _zero(path, content)
        return Text(text, mark, plain, text.encode(plain, "replace") == content[len(mark) :])
    raise _undecodable(path, content, tried[-1])


def _plain(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return WITHOUT_MARK.get(name, name)


def _zero(path: Path, content: bytes) -> ValueError:
    """Returns the error for a text with NUL characters, which is often UTF-16 without a byte order mark."""
    line = content.count(b"\n", 0, content.index(b"\0")) + 1
    half = len(content) // 2 or 1
    wide = [name for name, first in (("utf-16-le", 1), ("utf-16-be", 0)) if content[first::2].count(0) > 0.5 * half]
    way = f"write --encoding {wide[0]} if it is UTF-16" if wide else "it is no text file; restore it"
    return ValueError(f"{path} must be text, and has a NUL character in line {line}; {way}")


def _undecodable(path: Path, content: bytes, encoding: str) -> ValueError:
    """Returns the error for bytes in another encoding, with a text decoded by a likely encoding."""
    try:
        content.decode(encoding)
        place = 0
    except UnicodeDecodeError as error:
        place = error.start
    line = content.count(b"\n", 0, place) + 1
    start = content.rfind(b"\n", 0, place) + 1
    stop = content.find(b"\n", place)
    there = content[max(start, place - 15) : min(len(content) if stop < 0 else stop, place + 15)]
    for other in ("cp1252", "latin-1"):
        try:
            content.decode(other)
        except UnicodeDecodeError:
            continue
        shown = brief(there.decode(other).strip(), 40)
        return ValueError(
            f"{path} must be text in {encoding.upper()}, and line {line} is not; "
            f"write --encoding {other} if {shown!r} is what it should contain, or name another encoding"
        )
    raise AssertionError("latin-1 decodes everything")
