"""Files of a user's table: which paths are looked at, and whether they hold what a run was trained on."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any

from polymodal.datasets.storage import Content, content, digest, fingerprint, folder
from polymodal.runtime.formatting import brief

__all__ = ["MOST_LETTERS", "Contents", "check_path", "contents_of", "is_unchanged", "noted"]

Contents = Mapping[str, Content | str]
"""Of a table's files, by name; and texts that the names of their folders say."""
MOST_LETTERS, MOST_ENTRIES = 4096, 100_000
"""Of a path; and files and folders in a table's folder."""


def check_path(path: str) -> None:
    """Refuses what cannot be the path of a table, and folders too large to be looked through.

    Raises:
        ValueError: It is empty or too long, holds a control character, or is the root of the file system or a folder
            of more than 100,000 files and folders.
    """
    if not 0 < len(path) <= MOST_LETTERS or any(unicodedata.category(letter) == "Cc" for letter in path):
        raise ValueError(
            f"path must be that of a file or a folder, 1 to {MOST_LETTERS:,} characters, none of them a control "
            f"character; got {brief(repr(path), 60)}"
        )
    try:
        whole = Path(path).resolve()
        entries = _entries(whole) if whole.is_dir() else 0
    except OSError as error:
        raise ValueError(f"path must be that of a file or a folder; got {brief(error, 100)}") from None
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"{path} must be a folder of Parquet files, and hold at most {MOST_ENTRIES:,} files and folders; "
            "name one below it"
        )


def contents_of(path: str, files: Iterable[Path], folders: Iterable[str] = ()) -> Contents:
    """What the files of a table hold, by their names within its folder, and what their folders' names say.

    Arguments:
        path: The table's file or folder.
        files: In order.
        folders: Texts, in order.

    Raises:
        FileNotFoundError: A file is not there.
    """
    held = {file.name if file == Path(path) else str(file.relative_to(path)): content(file) for file in files}
    return {**held, **{f"folder {place}": text for place, text in enumerate(folders)}}


def noted(contents: Contents) -> dict[str, Any]:
    """What a run keeps of a table's files: a hash of their contents, and of their names where there are several."""
    names = list(contents) if len(contents) > 1 else []
    sizes = [held.size for held in contents.values() if isinstance(held, Content)]
    return {"digest": digest(*names, *contents.values()), "bytes": sum(sizes)}


def is_unchanged(data: Mapping[str, Any], contents: Contents) -> bool | None:
    """Whether a table's files hold what they held when a run was trained, by what the run notes of its data.

    Arguments:
        data: What `Table.source` says, and the fingerprint of the training rows.
        contents: What they hold now.

    Returns:
        None where that is not known: the run was trained by an earlier version.
    """
    files = data.get("files")
    if isinstance(files, Mapping) and "digest" in files:
        return files["digest"] == noted(contents)["digest"]
    known = folder("table", data.get("arguments", {}), contents.values())
    return True if data.get("fingerprint") == fingerprint(known, "train") else None


def _entries(folder: Path) -> float:
    """How many files and folders a folder holds, counted no further than to the most that there may be."""
    if folder == Path(folder.anchor):
        return inf
    counts = accumulate(len(folders) + len(files) for _, folders, files in os.walk(folder))
    return next((count for count in counts if count > MOST_ENTRIES), 0)
