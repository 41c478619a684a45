"""Reads arrays from MNIST's IDX files: a header of big-endian sizes, followed by the bytes."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

__all__ = ["find", "read"]

UNSIGNED_BYTE = 8
MOST = 2**30
"""Largest accepted array size in bytes: a small gzip file can expand to any size."""


def find(folder: Path, name: str, get: str) -> Path:
    """Returns the path of a file, or of its gzipped version.

    Raises:
        FileNotFoundError: Neither file exists.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder / name} must exist, gzipped or not, and does not; {get}")


def read(path: Path, shape: tuple[int, ...], get: str) -> np.ndarray:
    """Reads the array in a file, gzipped or not.

    Arguments:
        path: Path of the file.
        shape: Expected shape of one row.
        get: Instructions to get the correct file, for the error message.

    Returns:
        `(N, *shape)` uint8.

    Raises:
        ValueError: The file is damaged, truncated, or has other content.
    """
    axes = 1 + len(shape)
    try:
        check_file(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * axes)
            sizes = tuple(np.frombuffer(head[4:], ">u4").tolist()) if len(head) == 4 + 4 * axes else ()
            if head[:4] != bytes([0, 0, UNSIGNED_BYTE, axes]) or sizes[1:] != shape or not 0 < prod(sizes) <= MOST:
                axes = f"(rows{''.join(f', {side}' for side in shape)})"
                raise ValueError(f"its header must describe unsigned bytes {axes}; it begins with {head[:16].hex(' ')}")
            content = file.read(prod(sizes) + 1)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} must be a complete IDX file: {brief(error)}; {get}") from error
    if len(content) != prod(sizes):
        held = f"more than {prod(sizes)}" if len(content) > prod(sizes) else str(len(content))
        raise ValueError(f"{path} must hold {prod(sizes)} bytes after its header; it holds {held}; {get}")
    return np.frombuffer(content, np.uint8).reshape(sizes)
