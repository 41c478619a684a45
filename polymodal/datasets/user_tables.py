"""User-defined tables: CSV, Parquet, and other files, and folders of Parquet files."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal import csvfiles, tabular
from polymodal.csvfiles import Options, other_formats
from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.storage import folder
from polymodal.datasets.table_building import (
    REPORT,
    VERSION,
    load_or_build_table,
    make_cache_key,
    read_for_inference,
    report_once,
    select_inference_arguments,
)
from polymodal.datasets.table_files import Contents, File, check_path, list_contents
from polymodal.io import checkpoint
from polymodal.io.parquet_files import ParquetTable
from polymodal.io.parquet_folders import is_parquet, list_files
from polymodal.runtime.progress import say
from polymodal.schema import Schema
from polymodal.table.frames import MOST_UNREADABLE
from polymodal.tabular import Proposal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["count_rows", "find_contents", "is_file", "propose_types", "read_as", "select_rows", "table"]

NAMED = ("columns", "missing", "modality", "ignore", "group", "held_out", "unreadable", "seed")
"""Arguments that a run always records, even if they have their defaults."""


def is_file(name: str) -> bool:
    """Returns whether a name is that of a table's file or folder, rather than of a data set.

    Raises:
        ValueError: The name is a folder that is too large to search.
    """
    path = Path(name)
    if not name or other_formats.is_known(path):
        return bool(name)
    with suppress(OSError):  # names that no file can have
        if path.is_dir():
            check_path(name)
        return is_parquet(path)
    return False


@Facts(
    shapes="a modality per column",
    rows=None,
    licence="",
    size="",
    origin="",
    get="built from your own file, which `polymodal train FILE` names",
)
def table(
    path: str,
    *,
    columns: list[str] | None = None,
    missing: list[str] | None = None,
    present: list[str] | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    quote: str | None = None,
    header: bool | None = None,
    modality: dict[str, str] | None = None,
    ignore: list[str] | None = None,
    group: list[str] | None = None,
    held_out: float = 0.1,
    validation: float | None = None,
    test: float | None = None,
    unreadable: float = MOST_UNREADABLE,
    seed: int = 0,
) -> Dataset:
    """Your own table: a CSV, Parquet, Feather, JSON Lines or Excel file.

    A folder of Parquet files is read as one table.

    Each column becomes a modality, whose type `Schema.infer` infers. Rows are split at random. Units, classes and words
    are those of the training rows; for formats other than CSV, of the training rows among about the first 262,144 rows,
    because a Parquet table may be larger than memory. Paths in cells are relative to the table's folder.

    Arguments:
        path: File or folder of the table.
        columns: Column names of a CSV file without a header line.
        missing: Further texts that stand for missing values, such as "?".
        present: Texts that are values, although they usually stand for missing values: "NA", or "country=NA" for one
            column.
        separator: Character between the cells of a CSV file; by default detected in its first lines.
        decimal: Decimal mark of its numbers; by default detected.
        thousands: Character between groups of three digits; by default detected.
        encoding: Name of its encoding; by default detected.
        quote: Character around quoted cells, or "none"; by default ".
        header: Whether its first line contains the column names; by default true, unless `columns` is given.
        modality: Types of columns by name, as in `Schema.infer`.
        ignore: Columns to leave out.
        group: Prefixes of column names; the numeric columns with the same prefix become one vector.
        held_out: Fraction of the rows for validation, and the same fraction for the test.
        validation: Fraction of the rows for validation; by default `held_out`.
        test: Fraction of the rows for the test, 0 for no test rows; by default `held_out`.
        unreadable: Largest accepted fraction of damaged files in a column of paths.
        seed: Random seed for the splits.

    Returns:
        The data set, from the cache if it was built before.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file or a cell cannot be read (names column and row), or there are fewer than 10 rows.
    """
    if not 0 < held_out < 0.5:
        raise ValueError(f"held_out must be in (0, 0.5); got {held_out}")
    shares = {name: share for name, share in {"validation": validation, "test": test}.items() if share is not None}
    _check_shares(**{"validation": held_out, "test": held_out, **shares})
    file = File(Path(path), Options.of(locals()))
    contents = find_contents(path)
    given = file.options.given
    if file.text and (found := csvfiles.detect_options(path, file.options)).given:
        say(csvfiles.describe_detected_options(file.path, found))
        given |= found.given
    arguments = {
        "path": str(Path(path).resolve()), "columns": columns, "missing": missing, "modality": modality,
        "ignore": ignore, "group": group, "held_out": held_out, "unreadable": unreadable, "seed": seed,
    }  # fmt: skip
    arguments |= shares | given  # these are only named if given, to find the cache of earlier versions
    return load_or_build_table(arguments, contents)


def _check_shares(validation: float, test: float) -> None:
    """Checks the fractions of the rows for validation and test."""
    if not 0 < validation < 1:
        raise ValueError(f"validation must be in (0, 1), because validation rows choose the epoch; got {validation}")
    if not 0 <= test < 1:
        raise ValueError(f"test must be in [0, 1), and 0 keeps no test rows; got {test}")
    if validation + test >= 1:
        raise ValueError(f"validation and test must sum to less than 1; got {validation} and {test}")


def find_contents(path: str) -> Contents:
    """Returns the contents of a table's files, and the texts of their folder names.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The path cannot be that of a table.
    """
    check_path(path)
    other_formats.refuse_unknown(path)
    parquet = File(Path(path)).parquet
    files = list_files(path) if parquet else [Path(path)]
    if not files[0].is_file():
        raise _make_absence_error(path)
    return list_contents(path, files, ParquetTable(path).folder_names if parquet else [])


def read_as(schema: Schema, contents: Contents, *, anew: bool, **arguments: Any) -> Dataset:
    """Loads a table like `table`, but with a known schema, such as that of a model.

    Messages about values that were not used unchanged are printed every time.

    Arguments:
        schema: Modalities, with all classes, words and units.
        contents: Contents of the table's files.
        anew: Whether the files differ from those that the schema was inferred from, so nothing is inferred from them.
        **arguments: Arguments of `table`.

    Returns:
        The data set.

    Raises:
        ValueError: A cell cannot be read (names column and row), or no column is known.
    """
    usual = inspect.signature(table).parameters
    arguments = {**{name: usual[name].default for name in NAMED}, **arguments}
    if not anew:
        with suppress(ValueError):  # errors in the rows occur with any schema, and are raised below
            data = load_or_build_table(arguments, contents)
            schema.require(data.schema, "the table")
            return data
    data = load_or_build_table(arguments, contents, schema)
    place = folder("table", make_cache_key(arguments, schema), contents.values(), VERSION)
    for sentence in checkpoint.read_json(place / REPORT)["said"]:
        say(sentence)
    return data


def count_rows(path: str) -> int:
    """Returns the approximate number of rows of a table, from the metadata of Parquet or the line ends of CSV files.

    Files of other formats are read.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or has other content.
    """
    file = File(Path(path))
    if file.parquet:
        return sum(ParquetTable(path).lengths)
    if not Path(path).is_file():
        raise _make_absence_error(path)
    if not file.text:
        return len(other_formats.read(file.path))
    return csvfiles.unpack(Path(path)).count(b"\n")


def propose_types(**arguments: Any) -> list[Proposal]:
    """Returns the inferred type of each column and the reason for it; takes all arguments of `table`."""
    source = read_for_inference(arguments)
    report_once(arguments, source.messages)
    return tabular.propose(source.known, **select_inference_arguments(arguments), root=source.root)


def select_rows(pieces: Iterable[pd.DataFrame], rows: Sequence[int]) -> pd.DataFrame:
    """Returns the rows with these indices, in this order, and reads no chunk after the last of them.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"x": [0.0, 0.1, 0.2, 0.3]})
        >>> select_rows([frame[:2], frame[2:]], [3, 0])["x"].tolist()
        [0.3, 0.0]
    """
    import pandas as pd

    kept, start, order = [], 0, np.sort(np.asarray(rows))
    for frame in pieces:
        stop = start + len(frame)
        kept.append(frame.set_axis(range(start, stop)).loc[order[(order >= start) & (order < stop)]])
        start = stop
        if start > order[-1]:
            break
    return pd.concat([part for part in kept if len(part)]).loc[[*rows]]


def _make_absence_error(path: str) -> FileNotFoundError:
    return FileNotFoundError(f"{path} must be a table's file, but does not exist; correct the path")
