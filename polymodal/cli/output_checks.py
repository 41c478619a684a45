"""Checks of output paths before a command writes.

A command never overwrites input data, and replaces an earlier result only with `--overwrite`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from polymodal.cli.run_folder import RECORD, experiment, refuse_unwritable
from polymodal.datasets.table_files import check_path
from polymodal.io.parquet_folders import is_parquet, list_files
from polymodal.runtime.formatting import brief

__all__ = ["check_file", "refuse_existing", "refuse_sources", "require_columns", "training_table"]


def check_file(
    out: Path, name: str, sources: Iterable[Path], require_result: Callable[[Path], None], *, overwrite: bool
) -> None:
    """Checks that an output file can be written, before a long computation.

    Arguments:
        out: Output file.
        name: File name that the error message suggests if `out` is a folder.
        sources: Input files and folders.
        require_result: Function that raises a ValueError for a file that is not an earlier result.
        overwrite: Whether to replace an earlier result.

    Raises:
        OSError: The file cannot be written.
        ValueError: `out` is a folder, is or is inside an input, is not an earlier result, or exists and `overwrite` is
            not set.
    """
    refuse_sources(out, sources)
    if out.is_dir():
        inside = shlex.quote(str(out / name))
        raise ValueError(f"--out must be a file, and {out} is a folder; use --out {inside}")
    if out.exists() and not out.is_file():
        raise ValueError(
            f"{out} must be a regular file, because it will be replaced, and it is not; choose another --out"
        )
    if out.exists():
        require_result(out)
    refuse_existing(out, overwrite=overwrite)
    refuse_unwritable(out.resolve().parent, "--out")


def require_columns(path: Path, held: Sequence[str], columns: Iterable[str]) -> None:
    """Checks that a table has all columns that every earlier result has.

    Arguments:
        path: Path of the table, for the error message.
        held: Columns of the table.
        columns: Required columns.

    Raises:
        ValueError: A required column is missing.
    """
    if missing := [name for name in columns if name not in held]:
        raise ValueError(
            f"{path} must have the column {missing[0]!r}, like every output of this command, because it is replaced; "
            f"it has {brief(', '.join(held))}; choose another --out"
        )


def refuse_sources(out: Path, sources: Iterable[Path], option: str = "--out") -> None:
    """Checks that an output is not an input, is not inside an input, and does not contain one, also through links.

    Raises:
        ValueError: The output would overwrite an input.
    """
    for source in sources:
        if _is_same(out, source) or _lies_in(out, source) or _lies_in(source, out) or _is_part(out, source):
            raise ValueError(
                f"{option} must be another path than {source}, and not inside it, because input data is never changed; "
                f"got {out}"
            )


def refuse_existing(out: Path, option: str = "--out", *, overwrite: bool) -> None:
    """Checks that an output does not exist, unless it may be replaced.

    Raises:
        ValueError: The output exists and `overwrite` is not set.
    """
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists; use --overwrite to replace it, or choose another {option}")


def training_table(folder: Path) -> list[Path]:
    """Returns the table's file or folder that a run was trained on, if there is one and it still exists."""
    if not (folder / RECORD).is_file():
        return []
    source = experiment(folder)["data"]
    path = source.get("arguments", {}).get("path")
    if source.get("dataset") != "table" or not isinstance(path, str) or not path or "\0" in path:
        return []
    try:
        check_path(path)
    except ValueError:  # the error is reported when the table is read
        return []
    return [Path(path)] if Path(path).is_absolute() and Path(path).exists() else []


def _is_same(one: Path, other: Path) -> bool:
    """Returns whether two paths are the same file, also through links and different letter case."""
    try:
        return one.samefile(other)
    except OSError:  # one of the paths does not exist
        return one.resolve() == other.resolve()


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.is_dir() and any(_is_same(parent, folder) for parent in path.resolve().parents)


def _is_part(out: Path, source: Path) -> bool:
    """Returns whether a file is one of the Parquet files of a folder under another name."""
    return source.is_dir() and out.is_file() and is_parquet(source) and any(map(out.samefile, list_files(source)))
