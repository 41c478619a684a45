"""Prefetching: preparing batches while the device works on earlier ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from polymodal.batch import Batch

__all__ = ["copy_to_device", "prefetch_batches"]

WORKERS, DEPTH = 2, 4
"""Number of threads, and number of batches that they prepare in advance."""


def prefetch_batches(
    make: Callable[[Tensor], Batch], parts: Iterable[Tensor], device: torch.device | str | None = None
) -> Iterator[Batch]:
    """Yields a batch for each part, in order; if a device is given, threads prepare some batches in advance.

    Rows are then read from a disk, gathered and copied to a GPU while the device works on earlier batches.

    Arguments:
        make: Function from row numbers `(B,)` to a batch.
        parts: Row numbers of each batch.
        device: Device of the batches. None creates each batch only when it is requested, and does not move it.

    Example:
        >>> rows = Batch({"x": torch.arange(5)}, torch.ones(5, 1, dtype=torch.bool))
        >>> batches = prefetch_batches(lambda part: rows[part], torch.arange(5).split(2), "cpu")
        >>> [batch.values["x"].tolist() for batch in batches]
        [[0, 1], [2, 3], [4]]
    """
    if device is None:
        yield from map(make, parts)
        return
    pinned = torch.device(device).type == "cuda"
    pool, waiting = ThreadPoolExecutor(WORKERS, "polymodal-loader"), deque[Future[Batch]]()
    try:
        for part in parts:
            waiting.append(pool.submit(_prepare_batch, make, part, pinned=pinned))
            if len(waiting) > DEPTH:
                yield waiting.popleft().result().to(device)
        while waiting:
            yield waiting.popleft().result().to(device)
    finally:
        pool.shutdown(cancel_futures=True)


def copy_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor on a device; a copy to a GPU is asynchronous."""
    if tensor.is_cuda or device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _prepare_batch(make: Callable[[Tensor], Batch], part: Tensor, *, pinned: bool) -> Batch:
    batch = make(part)
    return batch.pinned() if pinned and batch.observed.device.type == "cpu" else batch
