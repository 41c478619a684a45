"""Random seeds, and PyTorch's random generators and their states.

Two context managers sample from a seed. Both give the same numbers on the same device:

- `own_streams` uses separate generators for the random operations of this thread. The global generators are not
  changed, and threads do not wait for each other. Every operation takes some microseconds more, so it is for short
  computations.
- `seed_streams` seeds the global generators and restores their states afterwards. It is for training, because
  operations take no extra time. Threads take turns, and `let_others_run` lets waiting threads run between two steps.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from threading import Condition, get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from polymodal.runtime.validation import check_whole

__all__ = [
    "OwnStreams",
    "check_seed",
    "derive_seed",
    "get_random_states",
    "global_streams",
    "let_others_run",
    "own_streams",
    "restore_random_states",
    "row_noise",
    "seed_streams",
]


class Turns:
    """A reentrant lock that serves waiting threads in the order of arrival."""

    def __init__(self) -> None:
        self.changed, self.waiting = Condition(), deque[object]()
        self.owner: int | None = None
        self.depth = 0
        self.before: dict[str, Tensor] = {}
        """States of the global generators to restore when the owner releases the lock."""

    def __enter__(self) -> None:
        """Acquires the lock, and waits for it if necessary."""
        with self.changed:
            if self.owner != get_ident():
                ticket = object()
                self.waiting.append(ticket)
                try:
                    self.changed.wait_for(lambda: self.owner is None and self.waiting[0] is ticket)
                finally:
                    self.waiting.remove(ticket)
                    self.changed.notify_all()
                self.owner = get_ident()
            self.depth += 1

    def __exit__(self, *_: object) -> None:
        """Releases the lock once for each time it was acquired."""
        with self.changed:
            self.depth -= 1
            if not self.depth:
                self.owner = None
                self.changed.notify_all()

    def after_fork(self) -> None:
        """Removes threads that do not exist in a forked process."""
        self.changed, self.waiting = Condition(), deque()
        if self.owner != get_ident():
            self.owner, self.depth = None, 0


TURNS = Turns()
"""Lock of PyTorch's global generators."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TURNS.after_fork)


@contextmanager
def seed_streams(seed: int, device: torch.device) -> Iterator[None]:
    """Context manager that seeds PyTorch's global generators, and restores their states afterwards.

    Other threads wait; see `let_others_run`.
    """
    with TURNS:
        before, outermost = get_random_states(device), TURNS.depth == 1
        if outermost:
            TURNS.before = before
        torch.manual_seed(seed)
        try:
            yield
        finally:
            restore_random_states(TURNS.before if outermost else before, device)


@contextmanager
def global_streams() -> Iterator[None]:
    """Context manager for sampling from the global generators without affecting a thread within `seed_streams`."""
    with TURNS:
        yield


def let_others_run(device: torch.device) -> None:
    """Within `seed_streams`, lets threads that wait for the global generators run, then restores the random states."""
    if TURNS.depth != 1 or TURNS.owner != get_ident() or not TURNS.waiting:
        return
    own = get_random_states(device)
    restore_random_states(TURNS.before, device)
    TURNS.__exit__()
    stopped: BaseException | None = None
    while True:
        try:
            TURNS.__enter__()
            break
        except BaseException as error:  # Ctrl-C; the lock is still needed, because `seed_streams` releases it
            stopped = error
    TURNS.before = get_random_states(device)
    restore_random_states(own, device)
    if stopped is not None:
        raise stopped


class OwnStreams(TorchDispatchMode):
    """Dispatch mode that gives each random operation of this thread a generator with the seed, one per device."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, with the generator of its device if the operation is random."""
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        device = _find_device(args, kwargs)
        if device.type == "meta":  # meta tensors have no values
            return func(*args, **kwargs)
        generator = self._generator(device)
        if (overload := _find_overload_with_generator(func)) is not None:
            return overload(*args, **{**kwargs, "generator": generator})
        with global_streams():  # without a generator argument: use the global generator, set to the own one's state
            before = get_random_states(device)
            restore_random_states({device.type: generator.get_state()}, device)
            try:
                return func(*args, **kwargs)
            finally:
                generator.set_state(get_random_states(device)[device.type])
                restore_random_states(before, device)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


@contextmanager
def own_streams(seed: int) -> Iterator[None]:
    """Context manager in which this thread samples from separate generators with a seed, not from the global ones.

    Example:
        >>> before = torch.get_rng_state()
        >>> with own_streams(3):
        ...     one = torch.rand(4)
        >>> same = torch.rand(4, generator=torch.Generator().manual_seed(3))
        >>> torch.equal(torch.get_rng_state(), before), torch.equal(one, same)
        (True, True)
    """
    with OwnStreams(seed):
        yield


@cache
def _find_overload_with_generator(operation: Any) -> Any:
    """Returns the overload of a random operation that accepts a generator, or None."""
    names = [argument.name for argument in operation._schema.arguments]
    if "generator" in names:
        return operation
    packet = operation.overloadpacket
    for overload in (getattr(packet, name) for name in packet.overloads()):
        every = [argument.name for argument in overload._schema.arguments]
        if "generator" in every and [name for name in every if name != "generator"] == names:
            return overload
    return None


def _find_device(args: Iterable[Any], kwargs: Mapping[str, Any]) -> torch.device:
    """Returns the device on which an operation samples: that of its first tensor, or that of a new tensor."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value.device
    return torch.device(kwargs.get("device") or "cpu")


def derive_seed(*parts: int) -> int:
    """Returns a random seed that is derived from a sequence of integers.

    Different sequences almost always give different seeds. Zeros at the end of a short sequence make no difference.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def get_random_states(device: torch.device) -> dict[str, Tensor]:
    """Returns the states of the generators that a device uses: of the CPU and, for a GPU, also of the GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restores the states of generators; a generator whose state is not given is unchanged."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def check_seed(seed: int) -> None:
    """Checks that a random seed is an integer from 0 to 2^63 - 1.

    Raises:
        TypeError: The seed is not an integer.
        ValueError: The seed is negative, or 2^63 or more.
    """
    check_whole("seed", seed, 0)
    if seed >= 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed}")


def row_noise(seed: int, rows: Iterable[int], *shape: int) -> Tensor:
    """Samples standard normal noise that depends only on the seed and the number of each row, not on other rows.

    Arguments:
        seed: Random seed.
        rows: Numbers of the N rows, from 0.
        *shape: Shape of the noise of one row. Noise with a smaller first axis is a prefix of noise with a larger one.

    Returns:
        Noise, `(N, *shape)` float64, on the CPU.

    Example:
        >>> noise = row_noise(0, range(10), 5, 2)
        >>> torch.equal(noise[7:8, :3], row_noise(0, [7], 3, 2))
        True
    """
    # Philox is a counter-based generator: the row number is one of the four words of the counter.
    made = [
        np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, row])).standard_normal(shape) for row in rows
    ]
    return torch.from_numpy(np.stack(made)) if made else torch.empty(0, *shape, dtype=torch.float64)
