"""Files and folders that take their name whole, in one step, whatever happens to the process that writes them.

What is written stands in a hidden folder `.<name>-<8 hexadecimal digits>.partial` beside its place. Its process has
that folder locked, so that what a killed process has left can be told from what another one is writing. The next
process that writes the same name removes it.

A folder changes places with the one that it replaces in one system call. Where there is none, the old one is renamed to
`.<name>-<8 hexadecimal digits>.previous` first; it is put back, and read, where its process was killed in between.
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

__all__ = ["flush", "partial", "replacing", "standing", "sweep", "writing"]

TEMPORARY = re.compile(r"\.(?P<name>.+)-[0-9a-f]{8}\.(?P<kind>partial|previous)", re.DOTALL)
"""Hidden names beside a file's or folder's own."""

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
UNABLE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV)
"""How systems and file systems say that they cannot exchange two names."""
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""How systems say that there is no room to write."""
EXCHANGE, HERE = 2, -100
"""RENAME_EXCHANGE and AT_FDCWD of Linux."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes its name at the end, and is gone where there was an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial(path) as folder:
        yield folder / path.name
        flush(folder / path.name)
        (folder / path.name).replace(path)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder, which takes the name of this one at the end, and is gone where there was an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with partial(folder) as hidden:
        fresh = hidden / folder.name
        fresh.mkdir()
        yield fresh
        _take_place(fresh, folder)


def standing(folder: Path) -> Path:
    """The folder itself; where it is missing, its older version, if a process was killed while it replaced that."""
    return folder if os.path.exists(folder) else _orphan(folder) or folder  # noqa: PTH110 (of a name too long too)


def sweep(folder: Path) -> None:
    """Removes what killed processes have left in a folder, and puts older versions back whose names are free.

    What a living process is writing stays, and so do all other names.
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
    """Removes a target's hidden names that no process is at work with; its older version is put back first."""
    with suppress(OSError):
        if not target.exists() and (orphan := _orphan(target)):
            orphan.rename(target)
    found = _beside(target)
    complete = target.exists()  # asked after they were listed: each older version among them has a follower now
    for path in found:
        if path.suffix == ".previous":
            if complete:
                _discard(path, target)
            continue
        with lock_abandoned(path) as abandoned, suppress(OSError):  # locked, so that its maker takes another name
            if abandoned:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _orphan(target: Path) -> Path | None:
    """The older version of a folder that has no name now, for its process was killed between two renames."""
    hidden = [path for path in _beside(target) if path.is_dir() and not path.is_symlink()]
    if previous := [path for path in hidden if path.suffix == ".previous"]:
        return previous[0]
    # Both versions of a folder stood so where an earlier version of polymodal was killed.
    plain = [path for path in hidden if _is_version(path, target.name)]
    return min(plain, key=lambda path: path.stat().st_mtime) if len(plain) > 1 else None


def _is_version(path: Path, name: str) -> bool:
    """Whether a hidden folder that no process is at work with holds a version's own files."""
    with suppress(FileNotFoundError), lock_abandoned(path) as abandoned:
        return abandoned and not (path / name).exists() and any(path.iterdir())
    return False


def _discard(old: Path, target: Path) -> None:
    """Removes an older version under a name that nobody takes for one, even if this process is killed meanwhile."""
    with suppress(OSError):
        folder, lock = _make(target)
        try:
            old.rename(folder / target.name)
        finally:
            _release(folder, lock)


def _beside(target: Path) -> list[Path]:
    """The hidden names of a target."""
    start, found = f".{target.name}-", []
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(start) and (match := TEMPORARY.fullmatch(entry.name)):
                found += [target.with_name(entry.name)] if match["name"] == target.name else []
    return sorted(found)


@contextmanager
def partial(target: Path) -> Iterator[Path]:
    """A hidden folder beside a target, locked, and gone afterwards; earlier ones of killed processes are removed.

    An error that there is no room names the target, if it names no file.
    """
    _clear(target)
    folder, lock = _make(target)
    try:
        yield folder
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(target)
        raise
    finally:
        _release(folder, lock)


def _make(target: Path) -> tuple[Path, int | None]:
    """A new hidden folder, and what locks it; another process may have removed it before it was locked."""
    while True:
        folder = _new(target, "partial")
        folder.mkdir()
        if os.name == "nt":  # folders cannot be opened there
            return folder, None
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError:  # too many files are open
            _remove(folder)
            raise
        if try_lock(lock) is not False and folder.exists():
            return folder, lock
        _release(folder, lock)  # another process takes it for one that was left


def _release(folder: Path, lock: int | None) -> None:
    """Removes a hidden folder of this process."""
    if lock is not None:
        os.close(lock)
    _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a folder, even where few more files can be opened."""
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


def _new(target: Path, kind: str) -> Path:
    """A hidden name that nothing has, in the same folder."""
    return target.with_name(f".{target.name}-{uuid4().hex[:8]}.{kind}")


def flush(path: Path) -> None:
    """Waits until what is written to a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _take_place(fresh: Path, folder: Path) -> None:
    """Gives a new folder its name. What had it before is then where the new one was, or nowhere."""
    while True:
        done = _exchange(fresh, folder)
        if done or (_rename_in_turn if done is None else _rename_if_free)(fresh, folder):
            return  # else another process has just put its own there, or taken it away


def _exchange(one: Path, other: Path) -> bool | None:
    """Lets two names change places in one step: False where one is missing, None where the system cannot."""
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
    """Renames a folder where nothing, or an empty folder, has the name; whether that was so."""
    try:
        fresh.rename(folder)
    except OSError as error:
        if error.errno in TAKEN or (os.name == "nt" and folder.exists()):
            return False
        raise
    return True


def _rename_in_turn(fresh: Path, folder: Path) -> bool:
    """Renames what has the name, if something has, and then the new folder; whether no other process came between."""
    if _rename_if_free(fresh, folder):
        return True
    old = _new(folder, "previous")
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
