"""A table of one's own: a file of values between commas, a Parquet file, or a folder of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal import frames
from polymodal.datasets import shards
from polymodal.datasets.base import Dataset
from polymodal.datasets.storage import SPLITS, kept
from polymodal.progress import say
from polymodal.schema import Schema
from polymodal.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.proposals import Proposal

__all__ = ["columns", "is_file", "rows", "table"]

TEXT = (".csv", ".tsv", ".txt", ".data")
"""Files of values between commas or tabs."""
FEWEST = 10
"""Rows without which there are no three splits."""


def is_file(name: str) -> bool:
    """Whether a name is that of a table's file or folder, rather than of a data set."""
    path = Path(name)
    return path.suffix in (*TEXT, ".parquet") or (path.is_dir() and any(path.rglob("*.parquet")))


def table(
    path: str,
    *,
    columns: list[str] | None = None,
    missing: list[str] | None = None,
    modality: dict[str, str] | None = None,
    ignore: list[str] | None = None,
    group: list[str] | None = None,
    held_out: float = 0.1,
    unreadable: float = frames.MOST_UNREADABLE,
    seed: int = 0,
) -> Dataset:
    """A table of one's own: a CSV file, a Parquet file, or a folder of them.

    Each column is a modality, of what `Schema.infer` takes it for. Rows are split at random; units, classes and words
    are those of the training rows. Files that cells name are looked for from the table's folder on.

    Arguments:
        path: The file or the folder.
        columns: Names of a CSV file's columns, if its first line does not say them.
        missing: Further texts for a value that is not there, such as "?".
        modality: What columns are, by name, as in `Schema.infer`.
        ignore: Columns to leave out.
        group: Prefixes; the numbers whose columns begin with one become a single vector.
        held_out: The share of the rows that are for validation, and as many for the test.
        unreadable: The share of a column's files that may be damaged.
        seed: Of the splits.

    Returns:
        The data set, from the cache if it was made before.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, a cell cannot be (names column and row), or there are fewer than 10 rows.
    """
    if not 0 < held_out < 0.5:
        raise ValueError(f"held_out must be in (0, 0.5); got {held_out}")
    files = [Path(path)] if Path(path).suffix in TEXT else frames.parquet_files(path)
    if not files[0].is_file():
        raise FileNotFoundError(f"{path} must be a table's file, and does not exist; correct the path")
    arguments = {
        "path": str(Path(path).resolve()), "columns": columns, "missing": missing, "modality": modality,
        "ignore": ignore, "group": group, "held_out": held_out, "unreadable": unreadable, "seed": seed,
    }  # fmt: skip
    return kept("table", arguments, files, partial(_make, arguments))


def rows(path: str) -> int:
    """About how many rows a table has, without reading it.

    Raises:
        FileNotFoundError: There is no such file.
    """
    import pyarrow.parquet as pq

    if Path(path).suffix not in TEXT:
        return sum(pq.read_metadata(file).num_rows for file in frames.parquet_files(path))
    with Path(path).open("rb") as file:
        return sum(1 for _ in file)


def columns(**arguments: Any) -> list[Proposal]:
    """What `table` takes each column for, and why; its arguments are those of `table`, all of them."""
    from polymodal import proposals

    frame = _frame(arguments["path"], arguments)
    train = frame.iloc[_split(frame, arguments["held_out"], arguments["seed"])["train"]]
    return proposals.propose(train, **_choices(arguments), root=_root(arguments["path"]))


def _make(arguments: dict[str, Any], folder: Path, told: Callable[[str], dict[str, Any]]) -> None:
    path, root = arguments["path"], _root(arguments["path"])
    frame = _frame(path, arguments)
    parts = _split(frame, arguments["held_out"], arguments["seed"])
    train = frame.iloc[parts["train"]]
    schema = frames.fitted(Schema.infer(train, **_choices(arguments), root=root, say=None), train)
    for split, rows in parts.items():
        reader = frames.Reader(schema, root, arguments["unreadable"], numbers=rows)
        pieces = (frame.iloc[part] for part in np.array_split(rows, -(-len(rows) // frames.ROWS)))
        values, observed = frames.collected(pieces, reader, partial(_say, split))
        if not len(observed):
            raise ValueError(f"{path} must have more rows that hold something; none of the {split} rows does")
        shards.save(Table(values, observed, schema, **told(split)), folder / f"{split}.safetensors")


def _split(frame: pd.DataFrame, held_out: float, seed: int) -> dict[str, np.ndarray]:
    """Numbers of the rows of each split, in ascending order."""
    if len(frame) < FEWEST:
        raise ValueError(f"a table must have at least {FEWEST} rows, for it is split; got {len(frame)}")
    order = np.random.default_rng(seed).permutation(len(frame))
    many = max(1, round(held_out * len(frame)))
    ends = {"train": order[2 * many :], "validation": order[:many], "test": order[many : 2 * many]}
    return {split: np.sort(ends[split]) for split in SPLITS}


def _frame(path: str, arguments: Mapping[str, Any]) -> pd.DataFrame:
    """All rows of the table."""
    import pandas as pd

    if Path(path).suffix in TEXT:
        return frames.csv(path, arguments["columns"], arguments["missing"] or ())
    if arguments["columns"] or arguments["missing"]:
        raise ValueError("columns and missing are for files of values between commas; a Parquet file has its own")
    return pd.concat([batch.to_pandas() for batch in frames.parquet_pieces(path)], ignore_index=True)


def _choices(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `Schema.infer` is told."""
    return {
        "modalities": arguments["modality"],
        "ignore": arguments["ignore"] or (),
        "groups": arguments["group"] or (),
    }


def _root(path: str) -> Path:
    """Where files that cells name are looked for."""
    return Path(path) if Path(path).is_dir() else Path(path).parent


def _say(split: str, sentence: str) -> None:
    say(f"{split} rows: {sentence}")
