"""Files of user-defined tables: reading, checks of paths, and comparison of contents with those at training time."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal import csvfiles
from polymodal.csvfiles import Options, other_formats
from polymodal.datasets.storage import Content, content, digest, fingerprint, folder
from polymodal.io.parquet_files import ParquetTable
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MOST_LETTERS",
    "USUAL",
    "Contents",
    "File",
    "check_path",
    "fingerprint_files",
    "is_unchanged",
    "list_contents",
]

USUAL = Options()
"""Options for reading a CSV file: all are detected."""

Contents = Mapping[str, Content | str]
"""Contents of a table's files by name, and texts of the columns in folder names."""
MOST_LETTERS, MOST_ENTRIES = 4096, 100_000
"""Largest numbers of characters of a path, and of files and folders in a table's folder."""


@dataclass(frozen=True)
class File:
    """A file with a table, or a folder of Parquet files."""

    path: Path
    options: Options = USUAL
    """Options for reading a CSV file."""
    preferred: Options | None = None
    """Options that apply if the first lines of a CSV file are ambiguous."""

    @property
    def text(self) -> bool:
        """Whether the file is a CSV file, with any separator."""
        return csvfiles.kind(self.path).startswith(csvfiles.TEXT)

    @property
    def parquet(self) -> bool:
        """Whether the path is a Parquet file, or a folder of Parquet files."""
        return not self.text and csvfiles.kind(self.path) not in other_formats.READERS

    @property
    def root(self) -> Path:
        """Folder that paths in cells are relative to."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def document(self) -> csvfiles.Document:
        """The content of a CSV file.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The file cannot be read.
        """
        return csvfiles.read(self.path, self.options, self.preferred)

    @property
    def messages(self) -> list[str]:
        """Messages for the user about how the file was read, one sentence each."""
        return self.document.messages if self.text else []

    def read(self, size: int) -> tuple[list[int], Iterator[pd.DataFrame]]:
        """Returns the number of rows of each file, and all rows in chunks of at most `size` rows.

        Only one chunk of a Parquet file is in memory at a time; other files are read completely.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The file cannot be read.
        """
        if self.text:
            return _split_frame(self.document.frame, size)
        if self.options.given:
            option = next(iter(self.options.given))
            raise ValueError(f"{option} applies only to CSV files; got {self.path}; leave it out")
        other_formats.refuse_unknown(self.path)
        if not self.parquet:
            return _split_frame(other_formats.read(self.path), size)
        table = ParquetTable(self.path)
        return table.lengths, table.frames(size)


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
        entries = _count_entries(whole) if whole.is_dir() else 0
    except OSError as error:
        raise ValueError(f"path must be that of a file or a folder; got {brief(error, 100)}") from None
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"{path} must be a folder of Parquet files with at most {MOST_ENTRIES:,} files and folders; "
            "name one below it"
        )


def list_contents(path: str, files: Iterable[Path], folders: Iterable[str] = ()) -> Contents:
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


def _split_frame(frame: pd.DataFrame, size: int) -> tuple[list[int], Iterator[pd.DataFrame]]:
    """Returns the number of rows of a data frame, and the data frame in chunks."""
    return [len(frame)], (frame.iloc[start : start + size] for start in range(0, len(frame), size))


def _count_entries(folder: Path) -> float:
    """Returns the number of files and folders in a folder if it exceeds the limit, else 0; infinity for the root."""
    if folder == Path(folder.anchor):
        return inf
    counts = accumulate(len(folders) + len(files) for _, folders, files in os.walk(folder))
    return next((count for count in counts if count > MOST_ENTRIES), 0)
