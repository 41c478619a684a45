"""Locks on folders and files, which the system releases when the process ends for any reason."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from polymodal.runtime.formatting import brief

__all__ = ["LOCK", "claim_folder", "claim_outputs", "hold_lock", "lock_abandoned", "remove_abandoned", "try_lock"]

LOCK = ".polymodal.lock"
"""Name of the lock file in a folder; for an output file, the lock file is `.<name>` followed by this name."""

_MINE: ContextVar[tuple[Path, ...]] = ContextVar("mine", default=())
"""Locks that this context holds; functions that it calls may acquire them again."""


@contextmanager
def claim_folder(folder: Path, does: str) -> Iterator[None]:
    """Locks a folder, such as that of a run, with `hold_lock`.

    A missing folder is created, and is removed at the end if it is empty.

    Arguments:
        folder: Folder to lock.
        does: Activity of this process, such as "trains".

    Raises:
        ValueError: Another process uses the folder.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with suppress(OSError):  # the following steps raise a clear error
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_lock(folder / LOCK, str(folder), does):
            yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def claim_outputs(*paths: Path, does: str) -> Iterator[None]:
    """Locks files or folders that will be written, with `hold_lock`.

    Arguments:
        *paths: Files or folders.
        does: Activity of this process, such as "imputes".

    Raises:
        ValueError: Another process writes one of them.
    """
    with ExitStack() as held:
        for path in paths:
            held.enter_context(hold_lock(path.with_name(f".{path.name}{LOCK}"), str(path), does))
        yield


@contextmanager
def hold_lock(lock: Path, what: str, does: str) -> Iterator[None]:
    """Holds an exclusive lock within the context; has no effect if the system or the file system has no locks.

    Arguments:
        lock: Lock file in an existing folder. It records the owner of the lock, and is removed at the end.
        what: Name of the locked file or folder, for the message.
        does: Activity of this process, for the message.

    Raises:
        ValueError: Another process, or another thread of this one, holds the lock; names the process and its start
            time.
    """
    lock = lock.absolute()
    if lock in _MINE.get() or (file := _open(lock, what)) is None:
        yield
        return
    token = _MINE.set((*_MINE.get(), lock))
    try:
        with suppress(OSError):  # the lock is valid even if the disk is full
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()} {int(time.time())} {does}\n".encode(), 0)
        yield
    finally:
        _MINE.reset(token)
        lock.unlink(missing_ok=True)  # before the release, while no other process can have locked this file
        os.close(file)


def _open(lock: Path, what: str) -> int | None:
    """Returns the descriptor of the locked file, or None if it cannot be locked."""
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError:  # the folder is not writable; the following steps raise a clear error
            return None
        found = os.fstat(file)
        locked = try_lock(file) if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 else None
        if locked is False:
            content = os.pread(file, 200, 0).decode(errors="replace")
            os.close(file)
            raise ValueError(f"{what} must be used by one process at a time, and {_describe_owner(content)}")
        if locked is None:
            os.close(file)
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(file), os.stat(lock)):  # noqa: PTH116 (it is compared with a descriptor)
                return file
        os.close(file)  # the previous owner has just removed the file


def try_lock(file: int) -> bool | None:
    """Tries to lock an open file or folder; returns whether it succeeded, or None if there are no locks."""
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
    """Removes the lock file of a killed process."""
    with lock_abandoned(lock) as abandoned, suppress(OSError):
        if abandoned and lock.is_file():
            lock.unlink()


@contextmanager
def lock_abandoned(path: Path) -> Iterator[bool]:
    """Locks a file or folder if no process has locked it; yields whether it did, and False if there are no locks."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield try_lock(file) is True
    finally:
        os.close(file)


def _describe_owner(content: str) -> str:
    """Describes the owner of a lock from the content of the lock file."""
    pid, _, rest = content.partition(" ")
    since, _, does = rest.partition(" ")
    if not (pid.isdecimal() and since.isdecimal() and len(since) < 12):
        return "another one uses it; wait until it has ended"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(since)))
    mine = " (this one)" if int(pid) == os.getpid() else ""
    return (
        f"process {brief(pid, 20)}{mine} {brief(does.strip(), 60)} since {began}; wait until it has ended, or stop it"
    )
