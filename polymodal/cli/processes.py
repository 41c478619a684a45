"""Support for running the command line in several processes: all of them work, and the main process prints.

Large dependencies are imported only when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

__all__ = ["SHARED", "count", "is_first_to_report", "main_prints", "number", "refuse"]

SHARED = ("train", "evaluate")
"""Commands that can run in several processes."""

NUMBERS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables (`NUMBERS`, `COUNTS`) in which launchers and MPI store a process's rank and the number of processes.

The launchers are torchrun and `accelerate launch`.
"""

SECONDS = 5


def count() -> int:
    """Returns the number of processes that a launcher has started together, also known as the world size."""
    return _read(COUNTS, 1)


def number() -> int:
    """Returns the rank of this process, from 0; rank 0 is the main process."""
    return _read(NUMBERS, 0) if count() > 1 else 0


def refuse(command: str | None) -> None:
    """Checks that a command that supports only one process was started in one process.

    Raises:
        ValueError: The command was started in several processes.
    """
    if count() > 1 and command not in SHARED:
        raise ValueError(
            f"{command} must be started in one process, without torchrun or accelerate launch; it was started in "
            f"{count()} processes; only {' and '.join(SHARED)} can use several"
        )


@contextmanager
def main_prints() -> Iterator[None]:
    """Suppresses standard output in the `with` block, except in the main process."""
    if number() == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        yield


def is_first_to_report(text: str) -> bool:
    """Returns whether this process is the first to report a message, so an error of all processes is printed once.

    Returns True if the processes cannot be asked, for example because the launcher has ended.
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
    """Returns the first of these environment variables that holds a number, or the default."""
    return next((int(text) for name in names if (text := os.environ.get(name, "")).isdecimal()), default)
