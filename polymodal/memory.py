"""How much memory is left, and how much a backward pass will need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["free", "kept"]

GROUP = Path("/sys/fs/cgroup")


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
