"""Computation of a function for several sets of parameters at once by `torch.func.vmap`.

Within `vectorizing`, networks and costs use plain operations of PyTorch in place of their own autograd functions, which
`torch.func.vmap` does not support.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["is_vectorizing", "vectorizing"]

_STATE = local()


def is_vectorizing() -> bool:
    """Whether the current thread is within `vectorizing`.

    Example:
        >>> with vectorizing():
        ...     is_vectorizing()
        True
        >>> is_vectorizing()
        False
    """
    return getattr(_STATE, "depth", 0) > 0


@contextmanager
def vectorizing() -> Iterator[None]:
    """Context manager in which networks and costs use only operations that `torch.func.vmap` supports."""
    _STATE.depth = getattr(_STATE, "depth", 0) + 1
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path of transformers has no rule for `vmap`
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the only attention with a rule for `vmap`
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        _STATE.depth -= 1
