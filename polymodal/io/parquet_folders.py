"""Finds the Parquet files of a table in a folder, and the columns in the folder names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["is_parquet", "list_files", "parse_hive_partitions", "types_of"]

SUFFIX = ".parquet"
IGNORED = (".", "_")
"""Prefixes of names that other programs write next to a table: `._part.parquet`, `_temporary`, `_delta_log`."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""Value in the folder name of rows in which the column is missing."""


def list_files(path: str | Path) -> list[Path]:
    """Returns the sorted Parquet files of a folder, or the given file.

    Files and folders whose names begin with "." or "_" are ignored, except folders such as `_year=2020`.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if _belongs(file, path)) if path.is_dir() else [path]
    if not (files and files[0].is_file()):
        raise FileNotFoundError(f"{path} must be a Parquet file, or a folder of them; correct the path")
    return files


def is_parquet(path: Path) -> bool:
    """Returns whether a path has the suffix of a Parquet file, or is a folder that contains such a file."""
    return path.suffix.lower() == SUFFIX or (path.is_dir() and any(_belongs(file, path) for file in path.rglob("*")))


def parse_hive_partitions(file: Path, folder: Path) -> dict[str, str | None]:
    """Returns the columns in the names of the folders between a table's folder and a file, in the format of Hive.

    Example:
        >>> parse_hive_partitions(Path("birds/year=2020/city=S%C3%A3o/part.parquet"), Path("birds"))
        {'year': '2020', 'city': 'São'}
    """
    folders = file.relative_to(folder).parent.parts if file != folder else ()
    pairs = [name.partition("=") for name in folders if "=" in name and not name.startswith("=")]
    return {unquote(name): None if value == HIVE_NULL else unquote(value) for name, _, value in pairs}


def types_of(named: Iterable[Mapping[str, str | None]]) -> dict[str, pa.DataType]:
    """Returns the types of the columns in folder names: 64-bit integers if all values are written as such, else texts.

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
    """Returns whether a text is a 64-bit integer without leading zeros, which a conversion would lose."""
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
