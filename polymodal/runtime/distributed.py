"""Several processes at one piece of work: who they are, what they agree on, and which rows of a batch each has."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from polymodal.runtime.seeding import restore_streams, streams

__all__ = [
    "PATIENCE",
    "GoneError",
    "Share",
    "agreed",
    "align_streams",
    "here",
    "join",
    "noticing",
    "part",
    "rank",
    "require_same",
    "sums",
    "together",
    "working",
    "world",
]

PATIENCE = timedelta(minutes=10)
"""How long a process waits for one that is silent; that one has died is noticed at once."""

LOST = ("gloo", "nccl", "closed by peer", "reset by peer", "broken pipe", "timed out")
ERRORS = {error.__name__: error for error in (ValueError, TypeError, OSError, FileNotFoundError, FloatingPointError)}


class GoneError(RuntimeError):
    """Another process of the same work has ended, and this one cannot go on without it."""


def world() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this one among them, from 0, which is the main one."""
    return dist.get_rank() if world() > 1 else 0


class _Line:
    """The group in which processes talk on the CPU, beside the one in which GPUs exchange tensors."""

    of: ProcessGroup | None = None
    group: ProcessGroup | None = None


def join() -> None:
    """Opens what the processes agree through, once the launcher's group is there; to be called in all of them."""
    if world() > 1 and _Line.of is not dist.group.WORLD:
        if _Line.of is None:
            atexit.register(_leave)
        _Line.of = dist.group.WORLD
        _Line.group = cast("ProcessGroup", dist.new_group(backend="gloo", timeout=PATIENCE))


def _leave() -> None:
    """Closes the connections while their threads can still be waited for; at the interpreter's end they cannot."""
    _Line.of = _Line.group = None
    if dist.is_initialized():
        dist.destroy_process_group()


def agreed(*numbers: int) -> list[int]:
    """The largest of each number over all processes.

    Example:
        >>> agreed(0, 15)
        [0, 15]
    """
    if world() == 1:
        return [*numbers]
    held = torch.tensor(numbers, dtype=torch.int64)
    _reduced(held, dist.ReduceOp.MAX)
    return held.tolist()


def sums(held: Tensor) -> Tensor:
    """The sum of `(*)` over all processes, float64, with the same bits in each of them."""
    held = held.to("cpu", torch.float64, copy=True)
    if world() > 1:
        _reduced(held, dist.ReduceOp.SUM)
    return held


def align_streams(device: torch.device) -> None:
    """Sets PyTorch's random streams to those of the main process."""
    if world() > 1:
        states = streams(device)
        for state in states.values():
            dist.broadcast(state, 0, group=_Line.group)
        restore_streams(states, device)


def require_same(text: str, what: str) -> None:
    """Refuses what is not the same in all processes.

    Raises:
        ValueError: In all of them.
    """
    number = int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "little")
    most, least = agreed(number, -number)
    if most != -least:
        raise ValueError(
            f"all processes must have the same {what}, and some have others; start them with the same command, "
            "the same files and the same versions"
        )


@contextmanager
def together() -> Iterator[None]:
    """What goes wrong within in one process is raised in all. Nothing within may wait for the others.

    Raises:
        Exception: The process's own error, or one of the same type and text as the first other's.
    """
    error = None
    try:
        yield
    except Exception as own:
        error = own
    text = "" if error is None else f"{type(error).__name__}: {error}"
    told = "" if world() == 1 else _told(text)
    if error is not None:
        raise error
    if told:
        kind, _, message = told.partition(": ")
        raise ERRORS.get(kind, RuntimeError)(message)


@contextmanager
def noticing(advice: Callable[[], str]) -> Iterator[None]:
    """Says so where the connection to another process is lost.

    Arguments:
        advice: What to do then.

    Raises:
        GoneError: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        broken = isinstance(error, dist.DistError) or any(word in str(error).lower() for word in LOST)
        if world() == 1 or isinstance(error, GoneError) or not broken:
            raise
        raise GoneError(f"another process of this work is gone, and none can go on without it; {advice()}") from error


def part(rows: int, rank: int, world: int) -> slice:
    """The rows of a batch that a process has: a contiguous part, nearly as large as any other.

    All have all of a batch that has not two rows for each.

    Example:
        >>> [part(8, rank, 3) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        >>> part(5, 1, 3)
        slice(0, 5, None)
    """
    if rows < 2 * world:
        return slice(0, rows)
    each, more = divmod(rows, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


@dataclass
class Share:
    """This process's rows of the batch under way.

    Arguments:
        start: The first of them.
        stop: After the last.
        rows: Of the whole batch, which the processes work on together.
        draws: Opens the random streams that all processes have alike; by default there is one process.
    """

    start: int
    stop: int
    rows: int
    draws: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def entire(self) -> bool:
        """Whether they are all of the batch."""
        return self.stop - self.start == self.rows

    def gather(self, z: Tensor) -> Tensor:
        """The rows of all processes in their order, `(*, n, D)`, of its own `(*, stop - start, D)`.

        No gradient comes back from the others' rows; see `mirrored`. Nothing is gathered where it has all.
        """
        if self.entire:
            return z
        parts = [part(self.rows, r, world()) for r in range(world())]
        own = z.new_zeros(parts[0].stop, *z.shape[:-2], z.shape[-1])  # the first part is one of the largest
        own[: z.shape[-2]] = z.detach().movedim(-2, 0)
        every = [torch.empty_like(own) for _ in parts]
        dist.all_gather(every, own)
        gathered = [rows[: where.stop - where.start] for rows, where in zip(every, parts, strict=True)]
        return torch.cat(gathered).movedim(0, -2)

    def mirrored(self, pairs: Tensor) -> Tensor:
        """A symmetric function of pairs of its own rows and all, with the gradient that belongs to it.

        f(u, v) = f(v, u) is computed where u is and where v is, and moves both. What others compute would give its
        own rows just the gradient that it has itself, so that is doubled, and need not be sent back.
        """
        return pairs if self.entire else 2 * pairs - pairs.detach()


_HERE: ContextVar[Share | None] = ContextVar("share", default=None)


def here(rows: int) -> Share:
    """The share under way; all of so many rows, where this process works alone.

    Example:
        >>> share = here(4)
        >>> share.rows, share.entire
        (4, True)
    """
    return _HERE.get() or Share(0, rows, rows)


@contextmanager
def working(start: int, stop: int, rows: int, device: torch.device, noise: int) -> Iterator[None]:
    """A model is at work on these rows of a batch within. It draws from streams of its own.

    What it draws under `Share.draws` comes from the streams that were there before, which all processes have alike,
    and which are then as if nothing else had been drawn.

    Arguments:
        start: The first row.
        stop: After the last.
        rows: Of the whole batch.
        device: Whose streams.
        noise: Seed of the own streams.
    """
    common = streams(device)

    @contextmanager
    def draws() -> Iterator[None]:
        nonlocal common
        own = streams(device)
        restore_streams(common, device)
        try:
            yield
        finally:
            common = streams(device)
            restore_streams(own, device)

    torch.manual_seed(noise)
    token = _HERE.set(Share(start, stop, rows, draws))
    try:
        yield
    finally:
        _HERE.reset(token)
        restore_streams(common, device)


def _told(text: str) -> str:
    """The first text of all processes that is not empty, if there is one."""
    said = text.encode()
    (length,) = agreed(len(said))
    own = torch.zeros(length, dtype=torch.uint8)
    own[: len(said)] = torch.tensor([*said], dtype=torch.uint8)
    every = [torch.empty_like(own) for _ in range(world())]
    if length:
        dist.all_gather(every, own, group=_Line.group)
    texts = (bytes(held.tolist()).rstrip(b"\0").decode(errors="replace") for held in every)
    return next(filter(None, texts), "")


def _reduced(held: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    dist.all_reduce(held, operation, group=_Line.group)
