"""A lock that admits one process at a time to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polymodal.runtime.progress import say

__all__ = ["alone"]


@contextmanager
def alone(folder: Path, does: str) -> Iterator[bool]:
    """Waits until no other process holds the lock of a folder, and then holds it.

    Arguments:
        folder: Existing folder.
        does: Activity of the other process, for the message.

    Yields:
        Whether the lock is held; False if the system or the file system has no locks.
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
