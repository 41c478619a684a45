"""Context managers that set networks to evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["answering", "evaluating"]

_LOCK = Lock()
_USES: dict[int, int] = {}
"""Number of active `evaluating` contexts by `id` of the module, for modules to return to training mode."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Sets a module to evaluation mode; restores the mode of all its submodules when the last thread leaves."""
    with _LOCK:
        parts = [part for part in module.modules() if part.training or id(part) in _USES]
        for part in parts:
            _USES[id(part)] = _USES.get(id(part), 0) + 1
        if any(part.training for part in parts):
            module.eval()
    try:
        yield
    finally:
        with _LOCK:
            for part in parts:
                _USES[id(part)] -= 1
                if not _USES[id(part)]:
                    del _USES[id(part)]
                    part.training = True


@contextmanager
def answering(module: nn.Module) -> Iterator[None]:
    """Context manager for evaluation mode without gradients; it restores the mode of every module afterwards.

    It does not use inference mode, whose tensors cannot be saved for a backward pass: users train probes on embeddings.
    """
    with evaluating(module), torch.no_grad():
        yield
