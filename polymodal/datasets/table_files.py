"""Files of user-defined tables: checks of paths, and comparison of contents with those at training time."""

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

__all__ = ["MOST_LETTERS", "Contents", "check_path", "contents_of", "fingerprint_files", "is_unchanged"]

Contents = Mapping[str, Content | str]
"""Contents of a table's files by name, and texts of the columns in folder names."""
MOST_LETTERS, MOST_ENTRIES = 4096, 100_000
"""Largest numbers of characters of a path, and of files and folders in a table's folder."""


def check_path(path: str) -> None:
    """Checks that a path can be that of a table, and that a folder is not too large to search.

    Raises:
        ValueError: The path is empty, too long, contains a control character, or is the root of the file system or a
            folder with more than 100,000 files and folders.
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
    """Returns the contents of a table's files by relative name, and the texts of their folder names.

    Arguments:
        path: File or folder of the table.
        files: Files of the table, in order.
        folders: Texts of the columns in folder names, in order.

    Raises:
        FileNotFoundError: A file does not exist.
    """
    held = {file.name if file == Path(path) else str(file.relative_to(path)): content(file) for file in files}
    return {**held, **{f"folder {place}": text for place, text in enumerate(folders)}}


def fingerprint_files(contents: Contents) -> dict[str, Any]:
    """Returns the record of a table's files for a run: a hash, and the total size in bytes.

    The hash covers the contents of the files, and their names if there are several.
    """
    names = list(contents) if len(contents) > 1 else []
    sizes = [held.size for held in contents.values() if isinstance(held, Content)]
    return {"digest": digest(*names, *contents.values()), "bytes": sum(sizes)}


def is_unchanged(data: Mapping[str, Any], contents: Contents) -> bool | None:
    """Returns whether a table's files still have the contents that a run was trained on.

    Arguments:
        data: Record of the run's data: the `Table.source`, and the fingerprint of the training rows.
        contents: Current contents of the files.

    Returns:
        Whether the contents are unchanged, or None if that is unknown, because an earlier version trained the run.
    """
    files = data.get("files")
    if isinstance(files, Mapping) and "digest" in files:
        return files["digest"] == fingerprint_files(contents)["digest"]
    known = folder("table", data.get("arguments", {}), contents.values())
    return True if data.get("fingerprint") == fingerprint(known, "train") else None


def _entries(folder: Path) -> float:
    """Returns the number of files and folders in a folder if it exceeds the limit, else 0; infinity for the root."""
    if folder == Path(folder.anchor):
        return inf
    counts = accumulate(len(folders) + len(files) for _, folders, files in os.walk(folder))
    return next((count for count in counts if count > MOST_ENTRIES), 0)
