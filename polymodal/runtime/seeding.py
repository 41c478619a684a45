"""PyTorch's random streams: seeded, kept, and set back.

There are two ways to draw from a seed, with the same numbers on the same device:

- `own_streams`: what this thread draws within comes from generators of its own. The global ones are never touched, and
  threads do not wait for each other. Every operation within costs some microseconds more, so it is for what is short.
- `seeded`: the global generators are seeded within, and set back afterwards. It is for training, whose operations are
  to cost nothing more. Threads take turns, and `give_way` lets those that wait have theirs between two steps.
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
    "give_way",
    "global_streams",
    "number",
    "own_streams",
    "restore_streams",
    "row_noise",
    "seeded",
    "streams",
]


class Turns:
    """A lock that a thread may take several times, and that goes to those who wait in the order of their coming."""

    def __init__(self) -> None:
        self.changed, self.waiting = Condition(), deque[object]()
        self.owner: int | None = None
        self.depth = 0
        self.before: dict[str, Tensor] = {}
        """The global streams' states, as they are to be when the owner leaves."""

    def __enter__(self) -> None:
        """Waits for a turn."""
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
        """Ends the turn, unless it was taken several times."""
        with self.changed:
            self.depth -= 1
            if not self.depth:
                self.owner = None
                self.changed.notify_all()

    def after_fork(self) -> None:
        """Forgets threads that a new process has not."""
        self.changed, self.waiting = Condition(), deque()
        if self.owner != get_ident():
            self.owner, self.depth = None, 0


TURNS = Turns()
"""Of the threads at PyTorch's global streams."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TURNS.after_fork)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's global streams seeded within, and as they were afterwards. Other threads wait, see `give_way`."""
    with TURNS:
        before, outermost = streams(device), TURNS.depth == 1
        if outermost:
            TURNS.before = before
        torch.manual_seed(seed)
        try:
            yield
        finally:
            restore_streams(TURNS.before if outermost else before, device)


@contextmanager
def global_streams() -> Iterator[None]:
    """For draws from the global streams as they are: those of another thread within `seeded` are not disturbed."""
    with TURNS:
        yield


def give_way(device: torch.device) -> None:
    """Within `seeded`, lets other threads that wait for the streams have their turn, and then goes on as before."""
    if TURNS.depth != 1 or TURNS.owner != get_ident() or not TURNS.waiting:
        return
    own = streams(device)
    restore_streams(TURNS.before, device)
    TURNS.__exit__()
    stopped: BaseException | None = None
    while True:
        try:
            TURNS.__enter__()
            break
        except BaseException as error:  # Ctrl-C; the turn is needed even so, for `seeded` ends it
            stopped = error
    TURNS.before = streams(device)
    restore_streams(own, device)
    if stopped is not None:
        raise stopped


class OwnStreams(TorchDispatchMode):
    """Gives each random operation of this thread a generator that belongs to the seed, one for each device."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation."""
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        device = _device(args, kwargs)
        if device.type == "meta":  # there are no numbers
            return func(*args, **kwargs)
        generator = self._generator(device)
        if (able := _able(func)) is not None:
            return able(*args, **{**kwargs, "generator": generator})
        with global_streams():  # it takes no generator: it draws from the global one, in the own one's state
            before = streams(device)
            restore_streams({device.type: generator.get_state()}, device)
            try:
                return func(*args, **kwargs)
            finally:
                generator.set_state(streams(device)[device.type])
                restore_streams(before, device)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


@contextmanager
def own_streams(seed: int) -> Iterator[None]:
    """What this thread draws within comes from generators of its own, seeded so; the global ones are not touched.

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
def _able(operation: Any) -> Any:
    """The overload of a random operation that takes a generator; None where there is none."""
    names = [argument.name for argument in operation._schema.arguments]
    if "generator" in names:
        return operation
    packet = operation.overloadpacket
    for overload in (getattr(packet, name) for name in packet.overloads()):
        every = [argument.name for argument in overload._schema.arguments]
        if "generator" in every and [name for name in every if name != "generator"] == names:
            return overload
    return None


def _device(args: Iterable[Any], kwargs: Mapping[str, Any]) -> torch.device:
    """Where an operation draws: where its first tensor is, or where it makes one."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value.device
    return torch.device(kwargs.get("device") or "cpu")


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
    """Sets the streams back; that of a GPU or CPU stays as it is where the states were taken without one."""
    if "cpu" in states:
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
