"""How much memory is left, how much a backward pass will need, and keeping what a training step has used."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["free", "held", "kept"]

GROUP = Path("/sys/fs/cgroup")

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Of `mallopt`, see malloc.h of the GNU C library."""
HOLD = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
USUAL = {MMAP_MAX: 65_536, TRIM_THRESHOLD: 64 * 2**20, MMAP_THRESHOLD: 32 * 2**20}
"""What the library comes to by itself in a process that has used large blocks."""


def free(device: torch.device) -> int:
    """Bytes that can still be taken on a device; on the CPU also within the limit of a container."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    import psutil

    available = psutil.virtual_memory().available
    try:
        limit, used = ((GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(available, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return available


def kept(function: Callable[[], object]) -> int:
    """Bytes that a function's backward pass would need, each tensor's memory counted once.

    Example:
        >>> x = torch.ones(1000, requires_grad=True)
        >>> kept(lambda: (x.exp() * 2).sum())
        4000
    """
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _ = function()  # held, so that no other tensor takes its place in memory meanwhile
    return sum(sizes.values())


@contextmanager
def held() -> Iterator[None]:
    """On a CPU, memory that is freed within stays with the process, for the next training step to take.

    The GNU C library gives blocks of more than 32 MB, and the end of its heap, back to the system at once, and the
    system clears each page before a process has it again: a tenth to a fifth of a step's time. Afterwards all that
    is free is given back. Nothing is done with another C library, or where the environment already tunes this one.
    """
    library = _tunable()
    if library is None:
        yield
        return
    for parameter, value in HOLD.items():
        library.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)


def _tunable() -> ctypes.CDLL | None:
    """The GNU C library, if it is there and nobody has tuned it."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.gnu_get_libc_version and library.mallopt and library.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None
