"""Folders of Parquet files: which files are part of a table, and which columns the names of folders say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["is_parquet", "list_files", "named_columns", "types_of"]

SUFFIX = ".parquet"
IGNORED = (".", "_")
"""How names begin that other programs leave beside a table: `._part.parquet`, `_temporary`, `_delta_log`."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The name of a folder of rows that lack its column."""


def list_files(path: str | Path) -> list[Path]:
    """Returns the Parquet files of a folder, in order, or the one that is named.

    Files and folders whose names begin with "." or "_" are no part of a table, but for a folder such as `_year=2020`.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if _belongs(file, path)) if path.is_dir() else [path]
    if not (files and files[0].is_file()):
        raise FileNotFoundError(f"{path} must be a Parquet file, or a folder of them; correct the path")
    return files


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file by its name, or a folder that holds one."""
    return path.suffix.lower() == SUFFIX or (path.is_dir() and any(_belongs(file, path) for file in path.rglob("*")))


def named_columns(file: Path, folder: Path) -> dict[str, str | None]:
    """Returns the columns that the folders between a table's folder and a file say, as Hive writes them.

    Example:
        >>> named_columns(Path("birds/year=2020/city=S%C3%A3o/part.parquet"), Path("birds"))
        {'year': '2020', 'city': 'São'}
    """
    folders = file.relative_to(folder).parent.parts if file != folder else ()
    pairs = [name.partition("=") for name in folders if "=" in name and not name.startswith("=")]
    return {unquote(name): None if value == HIVE_NULL else unquote(value) for name, _, value in pairs}


def types_of(named: Iterable[Mapping[str, str | None]]) -> dict[str, pa.DataType]:
    """Returns the types of the columns that folders say: whole numbers where all are written as such, else texts.

    Example:
        >>> types_of([{"year": "2020", "zip": "00501"}, {"year": None, "zip": "10001"}])
        {'year': DataType(int64), 'zip': DataType(string)}
    """
    import pyarrow as pa

    values: dict[str, list[str]] = {}
    for part in named:
        for name, value in part.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: pa.int64() if all(map(_is_whole, some)) else pa.string() for name, some in values.items()}


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number of at most 64 bits, without leading zeros, which would be lost."""
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def _belongs(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    return (
        file.suffix.lower() == SUFFIX
        and not any(part.startswith(IGNORED) and "=" not in part for part in parts)
        and not parts[-1].startswith(IGNORED)
        and file.is_file()
    )
