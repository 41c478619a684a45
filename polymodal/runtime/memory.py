"""Free memory, memory of a backward pass, and reuse of memory between training steps."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["count_saved_bytes", "measure_free_memory", "retain_freed_memory"]

GROUP = Path("/sys/fs/cgroup")

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of `mallopt`; see malloc.h of the GNU C library."""
HOLD = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
USUAL = {MMAP_MAX: 65_536, TRIM_THRESHOLD: 64 * 2**20, MMAP_THRESHOLD: 32 * 2**20}
"""Values that the library adopts itself in a process that has used large blocks."""


def measure_free_memory(device: torch.device) -> int:
    """Returns the free memory of a device in bytes; on the CPU, the memory limit of a container is respected."""
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


def count_saved_bytes(function: Callable[[], object]) -> int:
    """Returns the bytes of all tensors that a function saves for its backward pass, counting shared memory once.

    Example:
        >>> x = torch.ones(1000, requires_grad=True)
        >>> count_saved_bytes(lambda: (x.exp() * 2).sum())
        4000
    """
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _ = function()  # keeping the result prevents other tensors from reusing its memory
    return sum(sizes.values())


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Context manager that keeps freed CPU memory in the process, where the next training step can reuse it.

    The GNU C library returns blocks of more than 32 MB, and the end of its heap, to the system at once. The system
    clears each page before a process gets it again, which takes a tenth to a fifth of the time of a step. All free
    memory is returned at the end of the context. The context does nothing with another C library, or if the environment
    already tunes the allocator.
    """
    library = _load_tunable_library()
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


def _load_tunable_library() -> ctypes.CDLL | None:
    """Returns the GNU C library if it is available and the environment does not tune it, otherwise None."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.gnu_get_libc_version and library.mallopt and library.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None
