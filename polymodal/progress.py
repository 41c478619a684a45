"""How far long work has come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["shown"]

T = TypeVar("T")
LINES = 10
"""How many are printed where there is no terminal."""


def shown(parts: Iterable[T], what: str, count: int) -> Iterator[T]:
    """The parts, with a bar and the time left on a terminal, and a line per tenth elsewhere, on stderr.

    Arguments:
        parts: To pass on.
        what: Is being done.
        count: Of the parts.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(parts, what, count, console=console, transient=True)
        return
    for done, part in enumerate(parts, 1):
        yield part
        if done * LINES // count > (done - 1) * LINES // count:
            console.print(f"{what}: {100 * done // count} %", soft_wrap=True, highlight=False)
