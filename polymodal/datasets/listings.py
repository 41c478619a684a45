"""Reads the text files with lists that are published with image data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from polymodal.runtime.formatting import brief

__all__ = ["lines", "make_line_error", "sizes"]


def lines(path: Path, get: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number of each line that is not blank, counted from 1, and its fields, separated by white space.

    Arguments:
        path: Path of the file.
        get: Instructions to get the file, for the error message.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not UTF-8 text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist, and does not; {get}")
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if parts := line.split():
                    yield number, parts
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {brief(error)}; {get}") from error


def make_line_error(path: Path, number: int, rule: str, parts: list[str], get: str) -> ValueError:
    """Returns the error for an invalid line."""
    return ValueError(f"line {number} of {path} must be {rule}; got {brief(' '.join(parts))!r}; {get}")


def sizes(folder: Path, names: Iterable[str]) -> str:
    """Returns file names and sizes as a text for a fingerprint; missing files have size -1."""
    return "\n".join(f"{name} {_size(folder / name)}" for name in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
