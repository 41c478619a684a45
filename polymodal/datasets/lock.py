"""One process at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polymodal.runtime.progress import say

__all__ = ["alone"]


@contextmanager
def alone(folder: Path, does: str) -> Iterator[bool]:
    """Waits until no other process is in here with this folder, where the system can tell.

    Arguments:
        folder: That is there.
        does: What the other process does, for the message.

    Yields:
        Whether all others wait; some systems and file systems have no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    opened, sure = os.open(folder, os.O_RDONLY), False
    try:
        with suppress(OSError):  # some file systems have no locks
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process {does} {folder}; waiting for it")
                fcntl.flock(opened, fcntl.LOCK_EX)
            sure = True
        yield sure
    finally:
        os.close(opened)
