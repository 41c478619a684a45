"""Small pieces of work, each on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import itemgetter
from typing import TypeVar

import torch

__all__ = ["each"]

T = TypeVar("T")
U = TypeVar("U")


def each(function: Callable[[T], U], pieces: Sequence[T], device: torch.device) -> list[U]:
    """What a function, without gradients, makes of each piece; on a CPU in as many threads as PyTorch has there.

    Each of them computes on one core. Where a piece is as small as its cache that is faster than all cores at one
    piece after another, for no operation waits for the slowest core.

    Example:
        >>> each(lambda x: x.sum(), torch.arange(6).split(2), torch.device("cpu"))
        [tensor(1), tensor(5), tensor(9)]
    """

    @torch.no_grad()
    def made(piece: T) -> U:
        return function(piece)

    threads = min(torch.get_num_threads(), len(pieces)) if device.type == "cpu" else 1
    if threads < 2:
        return [made(piece) for piece in pieces]
    every = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "polymodal", initializer=lambda: torch.set_num_threads(1)) as pool:
            waiting = enumerate(pieces)
            rounds = pool.map(lambda _: [(number, made(piece)) for number, piece in waiting], range(threads))
            return [one for _, one in sorted(chain.from_iterable(rounds), key=itemgetter(0))]
    finally:
        torch.set_num_threads(every)  # threads that somebody starts later take the number that was set last
