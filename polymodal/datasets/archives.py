"""Archives, unpacked beneath a folder: all of it, and nothing outside it."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import received

__all__ = ["unpack", "unpacked"]

PIECE = 2**20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, LZMAError, EOFError, RuntimeError)
"""What the standard library raises of archives that are cut short, scrambled, encrypted or of an unknown method."""


class Member(NamedTuple):
    """A file or a folder in an archive."""

    name: str
    size: int
    kind: str  # "file", "folder", or something else that is not unpacked
    key: tarfile.TarInfo | zipfile.ZipInfo


class Archive(NamedTuple):
    """A zip or a tar of any compression."""

    file: tarfile.TarFile | zipfile.ZipFile

    def members(self) -> list[Member]:
        """All that it says it holds."""
        if isinstance(self.file, tarfile.TarFile):
            return [Member(m.name, m.size, _kind(m.isfile(), m.isdir()), m) for m in self.file.getmembers()]
        return [Member(m.filename, m.file_size, _zip_kind(m), m) for m in self.file.infolist()]

    def open(self, member: Member) -> IO[bytes]:
        """The bytes of a file in it."""
        if isinstance(self.file, zipfile.ZipFile):
            return self.file.open(member.key)  # pyright: ignore[reportArgumentType]
        opened = self.file.extractfile(member.key)  # pyright: ignore[reportArgumentType]
        assert opened is not None  # it is a file
        return opened


def unpacked(archive: Path, root: Path, key: str) -> bool:
    """Whether `unpack` has unpacked this archive, and what it made is still there."""
    mark = _mark(archive)
    told, *names = mark.read_text(encoding="utf-8").splitlines() if mark.is_file() else [""]
    return told == key and all((root / name).exists() for name in names)


def unpack(archive: Path, root: Path, key: str, *, most: int) -> None:
    """Unpacks an archive's files and folders into a folder beside their places, and then moves them there.

    Owners, rights and times are left out. Files that are there under their names are replaced.

    Arguments:
        archive: A .zip, or a .tar of any compression.
        root: Where to.
        key: Of this version of the archive, such as its checksum, for `unpacked`.
        most: Bytes that it may hold.

    Raises:
        OSError: There is no room for it.
        ValueError: It is damaged, no archive, holds more than that, or holds what belongs outside the folder, or a
            link, or a device.
    """
    fresh = archive.with_name(f".{archive.name}.unpacking")
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
    fresh.mkdir()
    try:
        with _opened(archive) as opened:
            members = opened.members()
            _check(members, archive, most)
            total = sum(member.size for member in members)
            with closing(received(_written(opened, members, fresh), f"unpacking {archive.name}", total)) as pieces:
                for _ in pieces:
                    pass
        names = sorted(path.name for path in fresh.iterdir())
        for name in names:
            _move(fresh / name, root / name)
        _mark(archive).write_text("\n".join([key, *names]) + "\n", encoding="utf-8")
    except OSError as error:
        raise OSError(f"{archive} could not be unpacked into {root}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator[Archive]:
    try:
        kind = zipfile.ZipFile if zipfile.is_zipfile(archive) else tarfile.open
        with kind(archive) as file:
            yield Archive(file)
    except DAMAGED as error:
        raise ValueError(
            f"{archive} must be a whole .zip or .tar: {brief(error)}; remove it, and fetch it anew"
        ) from error


def _check(members: list[Member], archive: Path, most: int) -> None:
    if (total := sum(member.size for member in members)) > most:
        raise ValueError(f"{archive} must hold at most {most:,} bytes; it holds {total:,}")
    for name, _, kind, _ in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or set(name) & {"\\", ":", "\0"}:
            raise ValueError(f"{archive} must hold paths beneath a folder alone; it holds {brief(name)}")
        if kind not in ("file", "folder"):
            raise ValueError(f"{archive} must hold files and folders alone; {brief(name)} is a link or a device")


def _written(archive: Archive, members: list[Member], folder: Path) -> Iterator[bytes]:
    """Writes the members, and passes on what is written."""
    for member in members:
        path = folder / member.name
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, path.open("wb") as target:
            while piece := source.read(PIECE):
                target.write(piece)
                yield piece


def _move(source: Path, target: Path) -> None:
    """Renames a file or a folder; a folder that is there gets what it lacks, and what it has anew."""
    if source.is_dir() and target.is_dir():
        for path in source.iterdir():
            _move(path, target / path.name)
    else:
        source.replace(target)


def _mark(archive: Path) -> Path:
    return archive.with_name(f".{archive.name}.unpacked")


def _kind(is_file: bool, is_folder: bool) -> str:
    return "file" if is_file else "folder" if is_folder else "other"


def _zip_kind(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16
    foreign = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    return "other" if foreign else _kind(not member.is_dir(), member.is_dir())
