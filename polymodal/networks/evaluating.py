"""Networks in evaluation mode for a while."""

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
"""Parts by their `id` that are in evaluation mode for a while, else in training mode: how many callers they serve."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; every part is then left as it was, once no other thread is within."""
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
