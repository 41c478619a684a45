"""Writes files and folders atomically: they get their names in one step when complete, even if a process is killed.

New content is written to a hidden folder `.<name>-<8 hexadecimal digits>.partial` next to its target. The process
locks that folder, which distinguishes the remains of killed processes from the work of running ones. The next
process that writes the same name removes the remains.

A folder is exchanged with the one that it replaces in one system call. If the system has no such call, the old folder
is first renamed to `.<name>-<8 hexadecimal digits>.previous`. If the process is killed in between, the old folder is
used, and restored.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from polymodal.io.locks import LOCK, lock_abandoned, remove_abandoned, try_lock

__all__ = ["find_folder", "flush", "replace_file", "replace_folder", "sweep", "temporary_folder"]

TEMPORARY = re.compile(r"\.(?P<name>.+)-[0-9a-f]{8}\.(?P<kind>partial|previous)", re.DOTALL)
"""Hidden names next to a file or folder."""

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
UNABLE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV)
"""Error numbers of systems and file systems that cannot exchange two names."""
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""Error numbers for insufficient space."""
EXCHANGE, HERE = 2, -100
"""RENAME_EXCHANGE and AT_FDCWD of Linux."""


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yields a path to write a file to, which is renamed to `path` at the end, or removed after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path) as folder:
        yield folder / path.name
        flush(folder / path.name)
        (folder / path.name).replace(path)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder, which is renamed to `folder` at the end, or removed after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as hidden:
        fresh = hidden / folder.name
        fresh.mkdir()
        yield fresh
        _take_place(fresh, folder)


def find_folder(folder: Path) -> Path:
    """Returns the folder, or its previous version if a process was killed while it replaced the folder."""
    return folder if os.path.exists(folder) else _find_previous_version(folder) or folder  # noqa: PTH110 (also handles names that are too long)


def sweep(folder: Path) -> None:
    """Removes the remains of killed processes from a folder, and restores previous versions whose names are free.

    Files that a running process is writing, and all other files, are kept.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        paths = [*folder.iterdir()]
        names = [found["name"] for path in paths if (found := TEMPORARY.fullmatch(path.name))]
        for name in dict.fromkeys(names):
            _clear(folder / name)
        for path in paths:
            if path.name.endswith(LOCK) and path.name != LOCK:
                remove_abandoned(path)


def _clear(target: Path) -> None:
    """Removes the hidden names of a target that no process uses; a previous version is restored first."""
    with suppress(OSError):
        if not target.exists() and (orphan := _find_previous_version(target)):
            orphan.rename(target)
    found = _list_hidden(target)
    complete = target.exists()  # checked after listing: each listed previous version has been replaced
    for path in found:
        if path.suffix == ".previous":
            if complete:
                _discard(path, target)
            continue
        with lock_abandoned(path) as abandoned, suppress(OSError):  # locked, so its creator uses another name
            if abandoned:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _find_previous_version(target: Path) -> Path | None:
    """Returns the previous version of a folder if its process was killed between two renames, else None."""
    hidden = [path for path in _list_hidden(target) if path.is_dir() and not path.is_symlink()]
    if previous := [path for path in hidden if path.suffix == ".previous"]:
        return previous[0]
    # Killed processes of earlier versions of polymodal left both versions of a folder like this.
    plain = [path for path in hidden if _is_version(path, target.name)]
    return min(plain, key=lambda path: path.stat().st_mtime) if len(plain) > 1 else None


def _is_version(path: Path, name: str) -> bool:
    """Returns whether a hidden folder that no process uses contains the files of a version."""
    with suppress(FileNotFoundError), lock_abandoned(path) as abandoned:
        return abandoned and not (path / name).exists() and any(path.iterdir())
    return False


def _discard(old: Path, target: Path) -> None:
    """Removes a previous version; it is first moved, so it is not mistaken for one if this process is killed."""
    with suppress(OSError):
        folder, lock = _create_hidden(target)
        try:
            old.rename(folder / target.name)
        finally:
            _release(folder, lock)


def _list_hidden(target: Path) -> list[Path]:
    """Returns the hidden names of a target."""
    start, found = f".{target.name}-", []
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(start) and (match := TEMPORARY.fullmatch(entry.name)):
                found += [target.with_name(entry.name)] if match["name"] == target.name else []
    return sorted(found)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Yields a locked hidden folder next to a target, and removes it at the end.

    Those of killed processes are removed first. If there is insufficient space and the error names no file, the target
    is added to the error.
    """
    _clear(target)
    folder, lock = _create_hidden(target)
    try:
        yield folder
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(target)
        raise
    finally:
        _release(folder, lock)


def _create_hidden(target: Path) -> tuple[Path, int | None]:
    """Creates a new hidden folder, and returns it and the descriptor of its lock.

    Repeats if another process removes the folder before it is locked.
    """
    while True:
        folder = _choose_hidden_name(target, "partial")
        folder.mkdir()
        if os.name == "nt":  # Windows cannot open folders
            return folder, None
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError:  # for example too many open files
            _remove(folder)
            raise
        if try_lock(lock) is not False and folder.exists():
            return folder, lock
        _release(folder, lock)  # another process treats it as abandoned


def _release(folder: Path, lock: int | None) -> None:
    """Unlocks and removes a hidden folder of this process."""
    if lock is not None:
        os.close(lock)
    _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a folder, even if few more files can be opened."""
    with suppress(OSError):
        shutil.rmtree(folder)
    for path, folders, files in os.walk(folder, topdown=False):
        with suppress(OSError):
            for name in files:
                Path(path, name).unlink()
            for name in folders:
                Path(path, name).rmdir()
    with suppress(OSError):
        folder.rmdir()


def _choose_hidden_name(target: Path, kind: str) -> Path:
    """Returns an unused hidden name in the same folder."""
    return target.with_name(f".{target.name}-{uuid4().hex[:8]}.{kind}")


def flush(path: Path) -> None:
    """Flushes the content of a file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _take_place(fresh: Path, folder: Path) -> None:
    """Renames a new folder to its target. A previous folder ends up at the old path of the new one, or is removed."""
    while True:
        done = _exchange(fresh, folder)
        if done or (_rename_in_turn if done is None else _rename_if_free)(fresh, folder):
            return  # otherwise another process has just created or removed the target


def _exchange(one: Path, other: Path) -> bool | None:
    """Exchanges two names in one step; returns False if one is missing, and None if the system cannot do so."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if call is None:
        return None
    if not call(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in UNABLE or number == errno.ENOENT:
        return None if number in UNABLE else False
    raise OSError(number, os.strerror(number), str(other))


def _rename_if_free(fresh: Path, folder: Path) -> bool:
    """Renames a folder if the new name is free or an empty folder; returns whether it did."""
    try:
        fresh.rename(folder)
    except OSError as error:
        if error.errno in TAKEN or (os.name == "nt" and folder.exists()):
            return False
        raise
    return True


def _rename_in_turn(fresh: Path, folder: Path) -> bool:
    """Renames an existing target first, and then the new folder; returns False if another process interfered."""
    if _rename_if_free(fresh, folder):
        return True
    old = _choose_hidden_name(folder, "previous")
    try:
        folder.rename(old)
    except FileNotFoundError:
        return False
    try:
        done = _rename_if_free(fresh, folder)
    except BaseException:
        with suppress(OSError):
            old.rename(folder)
        raise
    _discard(old, folder)
    return done
