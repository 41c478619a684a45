"""The lists in text files that data sets of pictures are published with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from polymodal.runtime.formatting import brief

__all__ = ["lines", "refused", "sizes"]


def lines(path: Path, get: str) -> Iterator[tuple[int, list[str]]]:
    """The numbers of the lines that are not blank, counted from 1, and their fields, parted by white space.

    Arguments:
        path: The file.
        get: Where to get it, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no text.
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


def refused(path: Path, number: int, rule: str, parts: list[str], get: str) -> ValueError:
    """The error for a line that is not what it must be."""
    return ValueError(f"line {number} of {path} must be {rule}; got {brief(' '.join(parts))!r}; {get}")


def sizes(folder: Path, names: Iterable[str]) -> str:
    """Names and sizes of files, for a fingerprint: that of a file that is not there is -1 byte."""
    return "\n".join(f"{name} {_size(folder / name)}" for name in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
