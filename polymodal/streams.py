"""PyTorch's random streams: seeded, kept, and set back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from polymodal.checks import check_whole

__all__ = ["check_seed", "number", "restore_streams", "row_noise", "seeded", "streams"]


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


def check_seed(seed: int) -> None:
    """Refuses a random seed out of its range.

    Raises:
        ValueError: It is negative, or 2^63 or more.
    """
    check_whole("seed", seed, 0)
    if seed >= 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed}")


def row_noise(seed: int, rows: Iterable[int], *shape: int) -> Tensor:
    """Standard normal noise that depends on the seed and on a row's number alone, not on the other rows.

    Arguments:
        seed: Random seed.
        rows: Numbers of the N rows, from 0.
        *shape: Of one row's noise. Less of it, along the first axis, is the beginning of more.

    Returns:
        `(N, *shape)` float64, on the CPU.

    Example:
        >>> noise = row_noise(0, range(10), 5, 2)
        >>> torch.equal(noise[7:8, :3], row_noise(0, [7], 3, 2))
        True
    """
    # A counter-based generator: each row has its own quarter of the counter.
    made = [
        np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, row])).standard_normal(shape) for row in rows
    ]
    return torch.from_numpy(np.stack(made)) if made else torch.empty(0, *shape, dtype=torch.float64)
