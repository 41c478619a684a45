"""Locks on folders and files, which the system releases when their process ends, however it ends."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from polymodal.runtime.formatting import brief

__all__ = ["LOCK", "claim_folder", "claim_outputs", "claimed", "lock_abandoned", "remove_abandoned", "try_lock"]

LOCK = ".polymodal.lock"
"""The file that is locked in a folder that is in use; with a dot and a name before it, that of an output beside it."""

_MINE: ContextVar[tuple[Path, ...]] = ContextVar("mine", default=())
"""What this thread has claimed; what it calls may claim it again."""


@contextmanager
def claim_folder(folder: Path, does: str) -> Iterator[None]:
    """As `claimed`, of a folder, such as that of a run. It is made if it is missing, and is gone if it stays empty.

    Arguments:
        folder: The folder.
        does: What this process does there, such as "trains".

    Raises:
        ValueError: Another process uses it.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with suppress(OSError):  # what comes next says so
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with claimed(folder / LOCK, str(folder), does):
            yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def claim_outputs(*paths: Path, does: str) -> Iterator[None]:
    """As `claimed`, of files or folders that are going to be written.

    Arguments:
        *paths: To be written.
        does: What this process does, such as "imputes".

    Raises:
        ValueError: Another process writes one of them.
    """
    with ExitStack() as held:
        for path in paths:
            held.enter_context(claimed(path.with_name(f".{path.name}{LOCK}"), str(path), does))
        yield


@contextmanager
def claimed(lock: Path, what: str, does: str) -> Iterator[None]:
    """Within, this process alone uses something. Nothing is locked where the system has no locks.

    Arguments:
        lock: The file to lock, in a folder that is there. It says who has locked it, and is gone afterwards.
        what: Is used, for the message.
        does: What the process does with it, for the message.

    Raises:
        ValueError: Another process uses it, or another thread of this one; says which, and since when.
    """
    lock = lock.absolute()
    if lock in _MINE.get() or (file := _open(lock, what)) is None:
        yield
        return
    token = _MINE.set((*_MINE.get(), lock))
    try:
        with suppress(OSError):  # the disk may be full, and the lock is one even so
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()} {int(time.time())} {does}\n".encode(), 0)
        yield
    finally:
        _MINE.reset(token)
        lock.unlink(missing_ok=True)  # before it is released: nobody else can have locked this file
        os.close(file)


def _open(lock: Path, what: str) -> int | None:
    """The lock's file, locked; None where nothing can be locked."""
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError:  # a folder that cannot be written; what comes next says so
            return None
        found = os.fstat(file)
        locked = try_lock(file) if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 else None
        if locked is False:
            said = os.pread(file, 200, 0).decode(errors="replace")
            os.close(file)
            raise ValueError(f"{what} must be used by one process at a time, and {_holder(said)}")
        if locked is None:
            os.close(file)
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(file), os.stat(lock)):  # noqa: PTH116 (it is compared with a descriptor)
                return file
        os.close(file)  # its owner has just removed it


def try_lock(file: int) -> bool | None:
    """Locks an open file or folder: whether that worked, for nobody else has; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some file systems have no locks
        return None
    return True


def remove_abandoned(lock: Path) -> None:
    """Removes the file of a lock that a killed process has left."""
    with lock_abandoned(lock) as abandoned, suppress(OSError):
        if abandoned and lock.is_file():
            lock.unlink()


@contextmanager
def lock_abandoned(path: Path) -> Iterator[bool]:
    """Locks a file or folder that no process has locked; whether that worked. False where there are no locks."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield try_lock(file) is True
    finally:
        os.close(file)


def _holder(said: str) -> str:
    """Who holds a lock, from what its file says."""
    pid, _, rest = said.partition(" ")
    since, _, does = rest.partition(" ")
    if not (pid.isdecimal() and since.isdecimal() and len(since) < 12):
        return "another one uses it; wait until it has ended"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(since)))
    mine = " (this one)" if int(pid) == os.getpid() else ""
    return (
        f"process {brief(pid, 20)}{mine} {brief(does.strip(), 60)} since {began}; wait until it has ended, or stop it"
    )
