"""The command line in several processes: all work, one prints. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

__all__ = ["SHARED", "count", "main_prints", "number", "refuse", "told_first"]

SHARED = ("train", "evaluate")
"""Commands that several processes work on together."""

NUMBERS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torchrun, `accelerate launch` and MPI say which process this is, and of how many."""

SECONDS = 5


def count() -> int:
    """How many processes a launcher has started together."""
    return _read(COUNTS, 1)


def number() -> int:
    """The number of this one among them, from 0, which is the main one."""
    return _read(NUMBERS, 0) if count() > 1 else 0


def refuse(command: str | None) -> None:
    """Refuses a command that works in one process alone.

    Raises:
        ValueError: It was started in several.
    """
    if count() > 1 and command not in SHARED:
        raise ValueError(
            f"{command} must be started in one process, without torchrun or accelerate launch, which "
            f"started {count()}; several work together at {' and '.join(SHARED)}"
        )


@contextmanager
def main_prints() -> Iterator[None]:
    """What is printed on stdout within is the main process's."""
    if number() == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        yield


def told_first(text: str) -> bool:
    """Whether no other process has said the same, so that what went wrong in all is said once.

    Where that cannot be told, for the launcher is gone too, it is said.
    """
    if count() == 1:
        return True
    from datetime import timedelta
    from hashlib import blake2b

    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    with suppress(RuntimeError, KeyError, ValueError):
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*place, is_master=False, timeout=timedelta(seconds=SECONDS), wait_for_workers=False)
        return store.add(f"polymodal/{blake2b(text.encode(), digest_size=8).hexdigest()}", 1) == 1
    return True


def _read(names: tuple[str, ...], default: int) -> int:
    """The first of these variables that holds a number."""
    return next((int(text) for name in names if (text := os.environ.get(name, "")).isdecimal()), default)
