"""Where data sets' files are, and where what was made of them is kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from polymodal import checkpoint
from polymodal.datasets import shards
from polymodal.datasets.alone import alone
from polymodal.datasets.base import Dataset

__all__ = ["SPLITS", "cache", "digest", "kept", "place"]

SPLITS = ("train", "validation", "test")


def cache() -> Path:
    """The folder of all that can be made or fetched again: `$POLYMODAL_CACHE`, or `~/.cache/polymodal`."""
    return Path(os.environ.get("POLYMODAL_CACHE") or "~/.cache/polymodal").expanduser()


def place(name: str, root: str | Path | None) -> Path:
    """Where a data set's files are: beneath the root, and without one in the cache, where downloads go."""
    return cache() / "downloads" / name if root is None else Path(root).expanduser()


def digest(*parts: str | bytes | Path) -> str:
    """A hash of texts, bytes, and the contents of files.

    Raises:
        FileNotFoundError: A file is not there.
    """
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                own = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()  # pyright: ignore[reportArgumentType]
        else:
            own = hashlib.blake2b(part.encode() if isinstance(part, str) else part, digest_size=16).digest()
        made.update(own)
    return made.hexdigest()


def kept(
    name: str,
    arguments: Mapping[str, Any],
    files: Iterable[Path | str],
    make: Callable[[Path, Callable[[str], dict[str, Any]]], None],
    *,
    version: int = 1,
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

    Raises:
        OSError: The cache cannot be written, or is full.
        ValueError: What is in the cache is damaged.
    """
    chosen = {key: value for key, value in arguments.items() if key not in ("root", "download")}
    key = digest(name, str(version), json.dumps(chosen, sort_keys=True), *files)
    folder = cache() / "datasets" / f"{name}-{key}"
    given = {key: value for key, value in arguments.items() if key != "download"}  # to load rows again fetches nothing
    if given.get("root") is not None:
        given["root"] = str(place(name, given["root"]).resolve())

    def told(split: str) -> dict[str, Any]:
        source = {"dataset": name, "split": split, "arguments": given}
        return {"digest": digest(key, split), "source": source}

    if not _whole(folder):
        _require_writable(folder.parent)
        with alone(folder.parent, "makes a data set in") as sure:
            if sure:
                checkpoint.sweep(folder.parent)  # of processes that were killed
            if not _whole(folder):
                _make(folder, lambda fresh: make(fresh, told))
    tables = {split: shards.load(folder / f"{split}.safetensors") for split in SPLITS}
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
