"""Computation of a function for several sets of parameters at once by `torch.func.vmap`.

Meanwhile, networks and costs use plain operations of PyTorch in place of their own autograd functions, which
`torch.func.vmap` does not support.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["is_exporting", "is_vectorizing", "vectorizing"]


def is_vectorizing() -> bool:
    """Whether a transformation of `torch.func`, such as `vmap`, is active.

    Example:
        >>> is_vectorizing(), torch.vmap(lambda x: x + is_vectorizing())(torch.zeros(2))
        (False, tensor([1., 1.]))
    """
    return torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]


def is_exporting() -> bool:
    """Whether `torch.export` records the operations of a model.

    The record must be valid for all values of the inputs, so no condition may depend on them.

    Example:
        >>> is_exporting()
        False
    """
    return torch.compiler.is_exporting()


@contextmanager
def vectorizing() -> Iterator[None]:
    """Context manager in which transformers use only operations that `torch.func.vmap` supports."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path of transformers has no rule for `vmap`
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the only attention with a rule for `vmap`
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
