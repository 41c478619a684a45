"""Progress of long-running work."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from polymodal.runtime.formatting import printable

__all__ = ["format_duration", "format_size", "say", "show_download_progress", "show_progress"]

T = TypeVar("T")
LINES = 10
"""Maximum number of progress lines if there is no terminal."""


def show_progress(parts: Iterable[T], what: str, count: int, size: Callable[[T], int] | None = None) -> Iterator[T]:
    """Yields parts and shows progress on stderr.

    On a terminal, it shows a bar with the remaining time; elsewhere, it prints one line per tenth of the work.

    Arguments:
        parts: Parts to yield.
        what: Description of the work.
        count: Number of parts; with `size`, the sum of their sizes.
        size: Function that returns the size of a part, such as the rows of a batch, for an unknown number of parts.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console, count, done = Console(stderr=True), max(count, 1), 0
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(escape(printable(what)), total=count)
            for part in parts:
                yield part
                bar.advance(task, 1 if size is None else size(part))
        return
    for part in parts:
        yield part
        before, done = done, done + (1 if size is None else size(part))
        if done * LINES // count > before * LINES // count:
            say(f"{what}: {100 * done // count} %")


def show_download_progress(
    pieces: Iterable[bytes], what: str, size: int, done: int = 0
) -> Generator[bytes, None, None]:
    """Yields chunks of a file and shows progress on stderr.

    On a terminal, it shows a bar in bytes; elsewhere, it prints one line per tenth of the file.

    Arguments:
        pieces: Chunks to yield.
        what: Description of the work.
        size: Size of the file in bytes.
        done: Number of bytes that were received earlier.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task(printable(what), total=size, completed=done)
            for piece in pieces:
                yield piece
                bar.advance(task, len(piece))
        return
    first, start = done, time.monotonic()
    for piece in pieces:
        yield piece
        before, done = done, done + len(piece)
        if done * LINES // size > before * LINES // size:
            left = (time.monotonic() - start) * max(0, size - done) / (done - first)
            say(f"{what}: {100 * done // size} %, {format_size(done)} of {format_size(size)}, {left:.0f} s left")


def say(line: str) -> None:
    """Prints a line on stderr, with escapes for unprintable characters."""
    from rich.console import Console

    Console(stderr=True).print(printable(line), soft_wrap=True, highlight=False, markup=False)


def format_size(count: int) -> str:
    """Formats a number of bytes with a suitable unit.

    Example:
        >>> format_size(999), format_size(1_000), format_size(11_594_722), format_size(1_150_585_339)
        ('999 bytes', '1.0 kB', '11.6 MB', '1.2 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def format_duration(seconds: float) -> str:
    """Formats a duration in seconds with a suitable unit.

    Example:
        >>> format_duration(0.2), format_duration(76.2), format_duration(5000.0), format_duration(36_000.0)
        ('1 second', '76 seconds', '83 minutes', '10.0 hours')
    """
    if seconds < 120:
        return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
