"""Where data sets' files are, and where what was made of them is kept."""

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

__all__ = ["SPLITS", "Content", "cache", "content", "digest", "fingerprint", "folder", "kept", "place"]

SPLITS = ("train", "validation", "test")


class Content(NamedTuple):
    """What a file held when it was looked at."""

    hash: bytes
    size: int
    """In bytes."""


def cache() -> Path:
    """The folder of all that can be made or fetched again: `$POLYMODAL_CACHE`, or `~/.cache/polymodal`.

    Raises:
        OSError: There is neither the variable nor a home folder.
    """
    try:
        return Path(os.environ.get("POLYMODAL_CACHE") or "~/.cache/polymodal").expanduser()
    except RuntimeError as error:
        raise OSError(
            "the cache must have a place, and this user has no home folder; name a folder in $POLYMODAL_CACHE"
        ) from error


def place(name: str, root: str | Path | None) -> Path:
    """Where a data set's files are: beneath the root, and without one in the cache, where downloads go."""
    return cache() / "downloads" / name if root is None else Path(root).expanduser()


def content(path: Path) -> Content:
    """The hash of a file's content, and its size.

    Raises:
        FileNotFoundError: The file is not there.
    """
    with path.open("rb") as file:
        made = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))  # pyright: ignore[reportArgumentType]
        return Content(made.digest(), file.tell())


def digest(*parts: str | bytes | Path | Content) -> str:
    """A hash of texts, bytes, and the contents of files.

    Raises:
        FileNotFoundError: A file is not there.
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
    """Where `kept` keeps a data set in the cache, of the same arguments."""
    chosen = {key: value for key, value in arguments.items() if key not in ("root", "download")}
    key = digest(name, str(version), json.dumps(chosen, sort_keys=True), *files)
    return cache() / "datasets" / f"{name}-{key}"


def fingerprint(place: Path, split: str) -> str:
    """Of a split's rows that are kept in this folder of the cache."""
    return digest(place.name.rpartition("-")[2], split)


def kept(
    name: str,
    arguments: Mapping[str, Any],
    files: Iterable[Path | str | Content],
    make: Callable[[Path, Callable[[str], dict[str, Any]]], None],
    *,
    version: int = 1,
    source: Mapping[str, Any] | None = None,
) -> Dataset:
    """A data set that is made once and then mapped into memory from the cache.

    Processes that make data sets in one cache wait for each other. What lacks a split's file is made anew.

    Arguments:
        name: Its key in DATASETS.
        arguments: All that it was asked for with; `root` and `download` say only where the files are.
        files: Whose contents determine the rows, beside the arguments; of too many files to read, texts that do.
        make: Writes the splits' files into a folder, under `<split>.safetensors`, by `shards.fill` or
            `shards.save`. It is told the folder, and what `shards.fill` and `Table` are to be told of a split:
            `digest` and `source`.
        version: Of the recipe; another one makes the data set anew.
        source: What else the tables' source says.

    Raises:
        OSError: The cache cannot be written, or is full.
        ValueError: What is in the cache is damaged.
    """
    made = folder(name, arguments, files, version)
    given = {key: value for key, value in arguments.items() if key != "download"}  # to load rows again fetches nothing
    if given.get("root") is not None:
        given["root"] = str(place(name, given["root"]).resolve())

    def told(split: str) -> dict[str, Any]:
        noted = {"dataset": name, "split": split, "arguments": given, **(source or {})}
        return {"digest": fingerprint(made, split), "source": noted}

    if not _whole(made):
        _require_writable(made.parent)
        with alone(made.parent, "makes a data set in") as sure:
            if sure:
                checkpoint.sweep(made.parent)  # of processes that were killed
            if not _whole(made):
                _make(made, lambda fresh: make(fresh, told))
    tables = {split: shards.load(made / f"{split}.safetensors") for split in SPLITS}
    return Dataset(name, **{split: replace(table, **told(split)) for split, table in tables.items()})


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Makes a folder of the cache, unless another process is faster, where there are no locks."""
    try:
        with checkpoint.replacing(folder) as fresh:
            make(fresh)
            if _whole(folder):
                raise FileExistsError  # and is in use
    except OSError:
        if not _whole(folder):
            raise


def _whole(folder: Path) -> bool:
    """Whether no split's file is missing."""
    return all((folder / f"{split}.safetensors").is_file() for split in SPLITS)


def _require_writable(folder: Path) -> None:
    try:
        checkpoint.check_writable(folder)
    except OSError as error:
        raise OSError(
            f"{folder} must be a folder that can be written, for what is made of a data set is kept there: "
            f"{error.strerror or error}; give the right to write, or name another cache in $POLYMODAL_CACHE"
        ) from error
