"""A context manager that sets networks to evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["evaluating"]

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
