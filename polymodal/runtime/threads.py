"""Parallel computation in threads that use one core each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import itemgetter
from typing import TypeVar

import torch

__all__ = ["map_in_threads"]

T = TypeVar("T")
U = TypeVar("U")


def map_in_threads(function: Callable[[T], U], pieces: Sequence[T], device: torch.device) -> list[U]:
    """Applies a function to each chunk without gradients; on a CPU, in as many threads as PyTorch uses.

    Each thread computes on one core. If a chunk fits the cache of a core, this is faster than using all cores for one
    chunk after another, because no operation waits for the slowest core.

    Example:
        >>> map_in_threads(lambda x: x.sum(), torch.arange(6).split(2), torch.device("cpu"))
        [tensor(1), tensor(5), tensor(9)]
    """

    @torch.no_grad()
    def apply(piece: T) -> U:
        return function(piece)

    threads = min(torch.get_num_threads(), len(pieces)) if device.type == "cpu" else 1
    if threads < 2:
        return [apply(piece) for piece in pieces]
    every = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "polymodal", initializer=lambda: torch.set_num_threads(1)) as pool:
            waiting = enumerate(pieces)
            rounds = pool.map(lambda _: [(number, apply(piece)) for number, piece in waiting], range(threads))
            return [one for _, one in sorted(chain.from_iterable(rounds), key=itemgetter(0))]
    finally:
        torch.set_num_threads(every)  # threads that start later use the number that was set last
