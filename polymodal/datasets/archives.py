"""Unpacks archives completely into a folder, and writes nothing outside of it."""

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
from polymodal.runtime.progress import show_download_progress

__all__ = ["is_unpacked", "unpack"]

PIECE = 2**20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, LZMAError, EOFError, RuntimeError)
"""Exceptions of the standard library for truncated, corrupt, or encrypted archives, and unknown compression methods."""


class Member(NamedTuple):
    """A file or a folder in an archive."""

    name: str
    size: int
    kind: str  # "file", "folder", or "other", which is not unpacked
    key: tarfile.TarInfo | zipfile.ZipInfo


class Archive(NamedTuple):
    """A zip archive, or a tar archive of any compression."""

    file: tarfile.TarFile | zipfile.ZipFile

    def members(self) -> list[Member]:
        """Returns all entries that the archive lists."""
        if isinstance(self.file, tarfile.TarFile):
            return [Member(m.name, m.size, _kind(m.isfile(), m.isdir()), m) for m in self.file.getmembers()]
        return [Member(m.filename, m.file_size, _zip_kind(m), m) for m in self.file.infolist()]

    def open(self, member: Member) -> IO[bytes]:
        """Opens a file in the archive for reading."""
        if isinstance(self.file, zipfile.ZipFile):
            return self.file.open(member.key)  # pyright: ignore[reportArgumentType]
        opened = self.file.extractfile(member.key)  # pyright: ignore[reportArgumentType]
        assert opened is not None  # because the member is a file
        return opened


def is_unpacked(archive: Path, root: Path, key: str) -> bool:
    """Returns whether `unpack` has unpacked this version of an archive, and its top-level paths still exist."""
    mark = _mark(archive)
    recorded, *names = mark.read_text(encoding="utf-8").splitlines() if mark.is_file() else [""]
    return recorded == key and all((root / name).exists() for name in names)


def unpack(archive: Path, root: Path, key: str, *, most: int) -> None:
    """Unpacks the files and folders of an archive.

    The files are first written to a temporary folder next to the archive, and then moved into `root`, where they
    replace existing files of the same names. Owners, permissions, and times are not restored.

    Arguments:
        archive: A .zip file, or a .tar file of any compression.
        root: Folder to unpack into.
        key: Identifier of this version of the archive, such as its checksum, which `is_unpacked` compares.
        most: Largest total size of the unpacked files, in bytes.

    Raises:
        OSError: The files cannot be written, for example because the disk is full.
        ValueError: The file is damaged or no archive, its content is too large, or it contains a path outside of the
            folder, a link, or a device.
    """
    fresh = archive.with_name(f".{archive.name}.unpacking")
    shutil.rmtree(fresh, ignore_errors=True)  # left by a killed process
    fresh.mkdir()
    try:
        with _open_archive(archive) as opened:
            members = opened.members()
            _check(members, archive, most)
            total = sum(member.size for member in members)
            with closing(
                show_download_progress(_extract_members(opened, members, fresh), f"unpacking {archive.name}", total)
            ) as pieces:
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
def _open_archive(archive: Path) -> Iterator[Archive]:
    try:
        kind = zipfile.ZipFile if zipfile.is_zipfile(archive) else tarfile.open
        with kind(archive) as file:
            yield Archive(file)
    except DAMAGED as error:
        raise ValueError(
            f"{archive} must be a complete .zip or .tar archive: {brief(error)}; remove it and download it again"
        ) from error


def _check(members: list[Member], archive: Path, most: int) -> None:
    if (total := sum(member.size for member in members)) > most:
        raise ValueError(f"{archive} must hold at most {most:,} bytes; it holds {total:,}")
    for name, _, kind, _ in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or set(name) & {"\\", ":", "\0"}:
            raise ValueError(f"{archive} must contain only paths inside its folder; it contains {brief(name)}")
        if kind not in ("file", "folder"):
            raise ValueError(f"{archive} must contain only files and folders; {brief(name)} is a link or a device")


def _extract_members(archive: Archive, members: list[Member], folder: Path) -> Iterator[bytes]:
    """Writes the members of an archive to a folder, and yields the chunks that were written."""
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
    """Moves a file or folder; a folder is merged into an existing one, and replaces files of the same names."""
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
