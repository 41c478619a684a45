"""What a command may write: never over the user's data, and over an earlier result only where `--overwrite` says so."""

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
    """Refuses a file that may not be written, before anything is made that takes long.

    Arguments:
        out: The file to be.
        name: To propose for it where it is a folder.
        sources: Files and folders that it is made from.
        require_result: Raises a ValueError for a file that is no earlier result.
        overwrite: Whether an earlier result may be replaced.

    Raises:
        OSError: The file cannot be written there.
        ValueError: It is a folder, one of the sources or in one, or something else than such a result; or it exists
            and is not to be replaced.
    """
    refuse_sources(out, sources)
    if out.is_dir():
        inside = shlex.quote(str(out / name))
        raise ValueError(f"--out must be a file, and {out} is a folder; write --out {inside}")
    if out.exists() and not out.is_file():
        raise ValueError(f"{out} must be a file, for it is replaced, and is something else; choose another --out")
    if out.exists():
        require_result(out)
    refuse_existing(out, overwrite=overwrite)
    refuse_unwritable(out.resolve().parent, "--out")


def require_columns(path: Path, held: Sequence[str], columns: Iterable[str]) -> None:
    """Refuses a table that lacks columns which every earlier result has.

    Raises:
        ValueError: It does.
    """
    if lacks := [name for name in columns if name not in held]:
        raise ValueError(
            f"{path} must have the column {lacks[0]!r}, as what this command writes, for it is replaced; it has "
            f"{brief(', '.join(held))}; choose another --out"
        )


def refuse_sources(out: Path, sources: Iterable[Path], option: str = "--out") -> None:
    """Refuses an output that is what it is made from, lies in it, or holds it, by whatever name or link.

    Raises:
        ValueError: It does.
    """
    for source in sources:
        if _is_same(out, source) or _lies_in(out, source) or _lies_in(source, out) or _is_part(out, source):
            raise ValueError(
                f"{option} must be another file than {source}, and not in it, for it stays as it is; got {out}"
            )


def refuse_existing(out: Path, option: str = "--out", *, overwrite: bool) -> None:
    """Refuses an output that exists and is not to be replaced.

    Raises:
        ValueError: It does.
    """
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists; --overwrite replaces it, or choose another {option}")


def training_table(folder: Path) -> list[Path]:
    """Returns the file or the folder of files that a run was trained on, if it was one and is still there."""
    if not (folder / RECORD).is_file():
        return []
    source = experiment(folder)["data"]
    path = source.get("arguments", {}).get("path")
    if source.get("dataset") != "table" or not isinstance(path, str) or not path or "\0" in path:
        return []
    try:
        check_path(path)
    except ValueError:  # reading the table says so
        return []
    return [Path(path)] if Path(path).is_absolute() and Path(path).exists() else []


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, which links and the case of letters may hide."""
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return one.resolve() == other.resolve()


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.is_dir() and any(_is_same(parent, folder) for parent in path.resolve().parents)


def _is_part(out: Path, source: Path) -> bool:
    """Whether a file is one of a folder's by another name."""
    return source.is_dir() and out.is_file() and is_parquet(source) and any(map(out.samefile, list_files(source)))
