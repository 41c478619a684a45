"""Distributed processes: their number and ranks, communication, and the rows of a batch that each process has."""

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

from polymodal.runtime.seeding import get_random_states, restore_random_states

__all__ = [
    "PATIENCE",
    "GoneError",
    "align_streams",
    "all_reduce_max",
    "all_reduce_sum",
    "create_cpu_group",
    "detect_lost_process",
    "get_local_rows",
    "rank",
    "require_same",
    "set_local_rows",
    "share_errors",
    "split_batch",
    "world_size",
]

PATIENCE = timedelta(minutes=10)
"""Maximum time to wait for a process that does not respond; the end of a process is detected at once."""

LOST_CONNECTION = ("gloo", "nccl", "closed by peer", "reset by peer", "broken pipe", "timed out")
ERRORS = {error.__name__: error for error in (ValueError, TypeError, OSError, FileNotFoundError, FloatingPointError)}


class GoneError(RuntimeError):
    """Raised when another process of the same run has ended, so this one cannot continue."""


def world_size() -> int:
    """Returns the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the rank of this process, from 0; the main process has rank 0."""
    return dist.get_rank() if world_size() > 1 else 0


class _CpuGroup:
    """Process group for communication on the CPU, separate from the group in which GPUs exchange tensors."""

    of: ProcessGroup | None = None
    group: ProcessGroup | None = None


def create_cpu_group() -> None:
    """Creates the process group for communication on the CPU, if the default process group exists.

    All processes must call it.
    """
    if world_size() > 1 and _CpuGroup.of is not dist.group.WORLD:
        if _CpuGroup.of is None:
            atexit.register(_leave)
        _CpuGroup.of = dist.group.WORLD
        _CpuGroup.group = cast("ProcessGroup", dist.new_group(backend="gloo", timeout=PATIENCE))


def _leave() -> None:
    """Destroys the process groups while their threads can still be joined, before the interpreter shuts down."""
    _CpuGroup.of = _CpuGroup.group = None
    if dist.is_initialized():
        dist.destroy_process_group()


def all_reduce_max(*numbers: int) -> list[int]:
    """Returns the maximum of each number over all processes.

    Example:
        >>> all_reduce_max(0, 15)
        [0, 15]
    """
    if world_size() == 1:
        return [*numbers]
    maxima = torch.tensor(numbers, dtype=torch.int64)
    _all_reduce(maxima, dist.ReduceOp.MAX)
    return maxima.tolist()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Returns the sum of a tensor `(*)` over all processes, float64 on the CPU, bit-identical in all of them."""
    total = tensor.to("cpu", torch.float64, copy=True)
    if world_size() > 1:
        _all_reduce(total, dist.ReduceOp.SUM)
    return total


def align_streams(device: torch.device) -> None:
    """Sets PyTorch's random states to those of the main process."""
    if world_size() > 1:
        states = get_random_states(device)
        for state in states.values():
            dist.broadcast(state, 0, group=_CpuGroup.group)
        restore_random_states(states, device)


def require_same(text: str, what: str) -> None:
    """Checks that a text is the same in all processes.

    Arguments:
        text: Text to compare.
        what: Description of the text, for the message.

    Raises:
        ValueError: The texts differ; raised in all processes.
    """
    number = int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "little")
    most, least = all_reduce_max(number, -number)
    if most != -least:
        raise ValueError(
            f"all processes must have the same {what}, and some differ; start all of them with the same command, files "
            "and versions"
        )


@contextmanager
def share_errors() -> Iterator[None]:
    """Context manager that raises an error of one process in all processes.

    Code in the context must not wait for the other processes.

    Raises:
        Exception: The error of this process or, if it has none, one with the text of the error of the lowest rank, of
            the same type if the type is in `ERRORS`, otherwise a RuntimeError.
    """
    error = None
    try:
        yield
    except Exception as own:
        error = own
    text = "" if error is None else f"{type(error).__name__}: {error}"
    first = "" if world_size() == 1 else _gather_first_text(text)
    if error is not None:
        raise error
    if first:
        kind, _, message = first.partition(": ")
        raise ERRORS.get(kind, RuntimeError)(message)


@contextmanager
def detect_lost_process(advice: Callable[[], str]) -> Iterator[None]:
    """Context manager that raises a `GoneError` if the connection to another process is lost.

    Arguments:
        advice: Function that returns advice for the message.

    Raises:
        GoneError: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        broken = isinstance(error, dist.DistError) or any(word in str(error).lower() for word in LOST_CONNECTION)
        if world_size() == 1 or isinstance(error, GoneError) or not broken:
            raise
        raise GoneError(
            f"another process of this run has ended, and the others cannot continue without it; {advice()}"
        ) from error


def split_batch(rows: int, rank: int, world_size: int) -> slice:
    """Returns the rows of a batch that a process has: contiguous parts whose sizes differ by at most one.

    If a batch has fewer than two rows per process, every process has all of its rows.

    Example:
        >>> [split_batch(8, rank, 3) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        >>> split_batch(5, 1, 3)
        slice(0, 5, None)
    """
    if rows < 2 * world_size:
        return slice(0, rows)
    each, more = divmod(rows, world_size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


@dataclass
class LocalRows:
    """The rows of the current batch that this process has.

    Arguments:
        start: Number of the first row.
        stop: Number of the last row, plus 1.
        rows: Number of rows of the entire batch, over all processes.
        common_streams: Function that returns a context in which random numbers are the same in all processes; the
            default is for a single process.
    """

    start: int
    stop: int
    rows: int
    common_streams: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def is_entire(self) -> bool:
        """Whether this process has all rows of the batch."""
        return self.stop - self.start == self.rows

    def gather(self, z: Tensor) -> Tensor:
        """Gathers the rows of all processes, in order.

        If this process has all rows, `z` is returned unchanged. Otherwise the result has no gradient; see
        `correct_pair_gradients`.

        Arguments:
            z: Rows of this process, `(*, stop - start, D)`.

        Returns:
            Rows of all processes, `(*, n, D)`, with n = `rows`.
        """
        if self.is_entire:
            return z
        parts = [split_batch(self.rows, r, world_size()) for r in range(world_size())]
        own = z.new_zeros(parts[0].stop, *z.shape[:-2], z.shape[-1])  # no part is larger than the first
        own[: z.shape[-2]] = z.detach().movedim(-2, 0)
        every = [torch.empty_like(own) for _ in parts]
        dist.all_gather(every, own)
        gathered = [rows[: where.stop - where.start] for rows, where in zip(every, parts, strict=True)]
        return torch.cat(gathered).movedim(0, -2)

    def correct_pair_gradients(self, pairs: Tensor) -> Tensor:
        """Corrects the gradient of a symmetric function f of pairs of own rows and all rows; values do not change.

        f(u, v) = f(v, u) is computed both in the process that has u and in the process that has v, and both results
        depend on u and v. The gradient that the other processes' results have with respect to the own rows equals the
        gradient of the own results. The own gradient is therefore doubled, and no gradient needs to be communicated.
        """
        return pairs if self.is_entire else 2 * pairs - pairs.detach()


_LOCAL_ROWS: ContextVar[LocalRows | None] = ContextVar("share", default=None)


def get_local_rows(rows: int) -> LocalRows:
    """Returns the current `LocalRows`; outside `set_local_rows`, a share of all rows.

    Arguments:
        rows: Number of rows of the batch.

    Example:
        >>> share = get_local_rows(4)
        >>> share.rows, share.is_entire
        (4, True)
    """
    return _LOCAL_ROWS.get() or LocalRows(0, rows, rows)


@contextmanager
def set_local_rows(start: int, stop: int, rows: int, device: torch.device, noise: int) -> Iterator[None]:
    """Context manager for processing some rows of a batch, with random numbers that are specific to this process.

    Within `LocalRows.common_streams`, random numbers are sampled from the random states before the context, which are
    the same in all processes. Afterwards these states are as if nothing else had been sampled.

    Arguments:
        start: Number of the first row.
        stop: Number of the last row, plus 1.
        rows: Number of rows of the entire batch.
        device: Device whose random states are used.
        noise: Random seed that is specific to this process.
    """
    common = get_random_states(device)

    @contextmanager
    def common_streams() -> Iterator[None]:
        nonlocal common
        own = get_random_states(device)
        restore_random_states(common, device)
        try:
            yield
        finally:
            common = get_random_states(device)
            restore_random_states(own, device)

    torch.manual_seed(noise)
    token = _LOCAL_ROWS.set(LocalRows(start, stop, rows, common_streams))
    try:
        yield
    finally:
        _LOCAL_ROWS.reset(token)
        restore_random_states(common, device)


def _gather_first_text(text: str) -> str:
    """Returns the first text of all processes that is not empty, or an empty text."""
    encoded = text.encode()
    (length,) = all_reduce_max(len(encoded))
    own = torch.zeros(length, dtype=torch.uint8)
    own[: len(encoded)] = torch.tensor([*encoded], dtype=torch.uint8)
    every = [torch.empty_like(own) for _ in range(world_size())]
    if length:
        dist.all_gather(every, own, group=_CpuGroup.group)
    texts = (bytes(one.tolist()).rstrip(b"\0").decode(errors="replace") for one in every)
    return next(filter(None, texts), "")


def _all_reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    dist.all_reduce(tensor, operation, group=_CpuGroup.group)
