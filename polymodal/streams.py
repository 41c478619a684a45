"""PyTorch's random streams: seeded, kept, and set back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

__all__ = ["number", "restore_streams", "seeded", "streams"]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's random streams seeded within, and as they were afterwards."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def number(*parts: int) -> int:
    """A seed that belongs to these numbers and to no others.

    Example:
        >>> number(0, 1) == number(0, 1), number(0, 1) == number(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def streams(device: torch.device) -> dict[str, Tensor]:
    """The states of the streams that a device uses."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def restore_streams(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Sets the streams back; that of a GPU stays as it is where the states were taken without one."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
