"""Reading tables from files that are neither CSV nor Parquet, and the list of supported kinds of files."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal import csvfiles
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["READERS", "is_known", "is_meant", "read", "refuse_unknown"]

PARQUET = ".parquet"
OTHERS = {
    ".xls": "an old Excel file",
    ".xlsm": "an Excel file with macros",
    ".ods": "an OpenDocument spreadsheet",
    ".json": "a JSON document",
    ".pkl": "a pickle, which can run code",
    ".pickle": "a pickle, which can run code",
    ".rds": "a file of R",
    ".rdata": "a file of R",
    ".dta": "a file of Stata",
    ".sav": "a file of SPSS",
    ".sas7bdat": "a file of SAS",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".orc": "an ORC file",
    ".avro": "an Avro file",
    ".db": "a database",
    ".sqlite": "a database",
    ".zip": "an archive",
    ".7z": "an archive",
    ".tar": "an archive",
    ".gz": "a compressed file of an unknown kind",
    ".bz2": "a compressed file of an unknown kind",
    ".xz": "a compressed file of an unknown kind",
    ".zst": "a compressed file",
}
"""Kinds of table files that are not supported, by ending."""


def _read_feather(path: Path) -> pd.DataFrame:
    from pyarrow import feather

    return feather.read_table(path, memory_map=False).to_pandas()


def _read_lines(path: Path) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {brief(error)}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} has no object, but {brief(line, 30)}")
            rows.append(row)
    return pd.DataFrame(rows)


def _read_excel(path: Path) -> pd.DataFrame:
    import pandas as pd

    if find_spec("openpyxl") is None:
        raise ValueError("openpyxl reads it, and is not installed; pip install openpyxl, or save it as CSV")
    return pd.read_excel(path)


READERS: dict[str, tuple[str, Callable[[Path], pd.DataFrame]]] = {
    ".feather": ("a Feather file", _read_feather),
    ".arrow": ("an Arrow file", _read_feather),
    ".jsonl": ("a file with a JSON object in each line", _read_lines),
    ".ndjson": ("a file with a JSON object in each line", _read_lines),
    ".xlsx": ("an Excel file", _read_excel),
}
"""Description and reader of each supported kind of file, by ending."""


def is_known(path: str | Path) -> bool:
    """Returns whether table files with this ending are supported.

    Example:
        >>> is_known("birds.csv.gz"), is_known("birds.jsonl"), is_known("birds.xls"), is_known("birds")
        (True, True, False, False)
    """
    ending = csvfiles.kind(path)
    return ending.startswith(csvfiles.TEXT) or ending == PARQUET or ending in READERS


def refuse_unknown(path: str | Path) -> None:
    """Raises an error if a file is of an unsupported kind.

    Raises:
        ValueError: The kind is not supported; the error names the kind and the supported ones.

    Example:
        >>> refuse_unknown("birds.csv")
        >>> refuse_unknown("birds.xls")
        Traceback (most recent call last):
        ValueError: birds.xls is an old Excel file, which is not read; .csv, .tsv, .tab, .txt, .data (also with .gz, ...
    """
    if is_known(path) or Path(path).is_dir():
        return
    ending = csvfiles.kind(path)
    what = OTHERS.get(ending) or (f"a file whose name ends in {ending}" if ending else "a file without an ending")
    raise ValueError(
        f"{path} is {what}, which is not read; {', '.join(csvfiles.TEXT)} (also with {', '.join(csvfiles.PACKED)}), "
        f"{PARQUET}, {', '.join(READERS)} are; write it as one of these, or rename it if it is one"
    )


def is_meant(name: str) -> bool:
    """Returns whether a name means a file: it exists, or its ending is that of an unsupported kind of file."""
    return Path(name).is_file() or csvfiles.kind(name) in OTHERS


def read(path: Path) -> pd.DataFrame:
    r"""Reads the rows of a file whose kind is one of `READERS`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged or of another kind, or needs a library that is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "trees.jsonl")
        ...     _ = path.write_text('{"code": "007", "rings": 20}\n{"code": "010"}\n')
        ...     read(path)["code"].tolist()
        ['007', '010']
    """
    from pyarrow import ArrowException

    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file, and does not exist; correct the path")
    what, reader = READERS[csvfiles.kind(path)]
    try:
        return reader(path)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, ArrowException) as error:
        raise ValueError(f"{path} must be {what}: {brief(error)}") from error
