"""Locations of the source files of data sets, and the cache of built data sets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.datasets import shards
from polymodal.datasets.base import Dataset
from polymodal.datasets.lock import alone
from polymodal.io import checkpoint

__all__ = ["SPLITS", "Content", "cache", "content", "digest", "fingerprint", "folder", "load_or_build", "place"]

SPLITS = ("train", "validation", "test")


class Content(NamedTuple):
    """Hash and size of the content of a file."""

    hash: bytes
    size: int
    """Size in bytes."""


def cache() -> Path:
    """Returns the folder of files that can be built or fetched again: `$POLYMODAL_CACHE`, or `~/.cache/polymodal`.

    Raises:
        OSError: The variable is not set, and there is no home folder.
    """
    try:
        return Path(os.environ.get("POLYMODAL_CACHE") or "~/.cache/polymodal").expanduser()
    except RuntimeError as error:
        raise OSError(
            "the cache must have a place, and this user has no home folder; name a folder in $POLYMODAL_CACHE"
        ) from error


def place(name: str, root: str | Path | None) -> Path:
    """Returns the folder of a data set's files: the root, or by default the download folder in the cache."""
    return cache() / "downloads" / name if root is None else Path(root).expanduser()


def content(path: Path) -> Content:
    """Computes the hash of a file's content, and its size.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    with path.open("rb") as file:
        made = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))  # pyright: ignore[reportArgumentType]
        return Content(made.digest(), file.tell())


def digest(*parts: str | bytes | Path | Content) -> str:
    """Computes a hash of texts, bytes, and contents of files.

    Raises:
        FileNotFoundError: A file does not exist.
    """
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Path | Content):
            own = (content(part) if isinstance(part, Path) else part).hash
        else:
            own = hashlib.blake2b(part.encode() if isinstance(part, str) else part, digest_size=16).digest()
        made.update(own)
    return made.hexdigest()


def folder(name: str, arguments: Mapping[str, Any], files: Iterable[Path | str | Content], version: int = 1) -> Path:
    """Returns the folder in the cache in which `load_or_build` stores a data set; for the arguments, see there.

    The arguments `root` and `download` have no influence on the folder.
    """
    chosen = {key: value for key, value in arguments.items() if key not in ("root", "download")}
    key = digest(name, str(version), json.dumps(chosen, sort_keys=True), *files)
    return cache() / "datasets" / f"{name}-{key}"


def fingerprint(place: Path, split: str) -> str:
    """Returns the fingerprint of a split's rows in a cache folder."""
    return digest(place.name.rpartition("-")[2], split)


def load_or_build(
    name: str,
    arguments: Mapping[str, Any],
    files: Iterable[Path | str | Content],
    make: Callable[[Path, Callable[[str], dict[str, Any]]], None],
    *,
    version: int = 1,
    source: Mapping[str, Any] | None = None,
) -> Dataset:
    """Returns a data set that is built once, and then mapped from the cache.

    Processes that build data sets in the same cache wait for each other. If the file of a split is missing, the data
    set is rebuilt.

    Arguments:
        name: Name of the data set in `DATASETS`.
        arguments: All arguments of the data set; `root` and `download` only affect the location of the source files.
        files: Files whose contents determine the rows, in addition to the arguments; or texts that determine them, if
            there are too many files to read.
        make: Function that writes a file `<split>.safetensors` for each split with `shards.fill` or `shards.save`. Its
            arguments are the folder, and a function that returns the arguments `digest` and `source` of `shards.fill`
            and `Table` for a split.
        version: Version of the recipe; a new version rebuilds the data set.
        source: Further entries for the `source` of the tables.

    Returns:
        The data set.

    Raises:
        OSError: The cache cannot be written, or is full.
        ValueError: A file in the cache is damaged.
    """
    made = folder(name, arguments, files, version)
    given = {key: value for key, value in arguments.items() if key != "download"}  # reloading must not download
    if given.get("root") is not None:
        given["root"] = str(place(name, given["root"]).resolve())

    def describe(split: str) -> dict[str, Any]:
        noted = {"dataset": name, "split": split, "arguments": given, **(source or {})}
        return {"digest": fingerprint(made, split), "source": noted}

    if not _whole(made):
        _require_writable(made.parent)
        with alone(made.parent, "makes a data set in") as sure:
            if sure:
                checkpoint.sweep(made.parent)  # remove files left by killed processes
            if not _whole(made):
                _make(made, lambda fresh: make(fresh, describe))
    tables = {split: shards.load(made / f"{split}.safetensors") for split in SPLITS}
    return Dataset(name, **{split: replace(table, **describe(split)) for split, table in tables.items()})


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Builds a folder of the cache; without locks, keeps the folder of another process that finished first."""
    try:
        with checkpoint.replace_folder(folder) as fresh:
            make(fresh)
            if _whole(folder):
                raise FileExistsError  # and may be in use
    except OSError:
        if not _whole(folder):
            raise


def _whole(folder: Path) -> bool:
    """Returns whether the files of all splits exist."""
    return all((folder / f"{split}.safetensors").is_file() for split in SPLITS)


def _require_writable(folder: Path) -> None:
    try:
        checkpoint.check_writable(folder)
    except OSError as error:
        raise OSError(
            f"{folder} must be a folder that can be written, because prepared data sets are stored there: "
            f"{error.strerror or error}; give the right to write, or name another cache in $POLYMODAL_CACHE"
        ) from error
