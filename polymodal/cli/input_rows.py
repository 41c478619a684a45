"""Input rows of commands that use a trained model: of a split of the run's data set, or of a table's file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from polymodal.cli import output_checks
from polymodal.cli.run_data import choose_split
from polymodal.cli.run_folder import open_tables
from polymodal.datasets import user_tables
from polymodal.datasets.table_building import read_nonempty_rows
from polymodal.datasets.table_files import File
from polymodal.runtime.formatting import split_names
from polymodal.runtime.progress import say
from polymodal.table import frames

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = [
    "list_sources",
    "open_source",
    "parse_modality_names",
    "parse_row_numbers",
    "read_selected_rows",
    "refuse_both",
    "say_all",
]

READ = 4096
"""Minimum number of rows per chunk that is read from a table's file."""


class Source(NamedTuple):
    """Input rows of a model."""

    rows: int
    batches: int
    """Number of batches."""
    chunks: Iterable[tuple[Tensor, Table]]
    """Chunks of row numbers and their rows; rows that observe no modality are left out."""
    messages: Callable[[], list[str]] = list
    """Function that returns messages about values that were changed on reading, after all chunks are read."""


def parse_modality_names(texts: Iterable[str], schema: Schema) -> list[str]:
    """Parses names of modalities such as "m0,label", and returns each name once; by default all names of the schema.

    Raises:
        ValueError: A modality does not exist.
    """
    names = [name for text in texts for name in ([text] if text in schema else split_names(text))]
    for name in names:
        schema.index(name)  # raises an error if the modality does not exist
    return list(dict.fromkeys(names)) or list(schema)


def parse_row_numbers(text: str, length: int) -> list[int]:
    """Parses row numbers and ranges such as "0:8" or "3,5,9", and returns each number once.

    Raises:
        ValueError: A row does not exist, or the text is not of this form.

    Example:
        >>> parse_row_numbers("0:3", 10), parse_row_numbers("9, 3, ::4", 10), parse_row_numbers("-2:", 10)
        ([0, 1, 2], [9, 3, 0, 4, 8], [8, 9])
    """
    try:
        rows = [row for part in text.split(",") for row in _range(part, length)]
    except (ValueError, IndexError):
        rows = []
    if not rows:
        raise ValueError(f"rows must be numbers or ranges within 0..{length - 1}, such as 0:8 or 3,5,9; got {text!r}")
    return list(dict.fromkeys(rows))


def _range(part: str, length: int) -> Iterable[int]:
    numbers = [int(number) if number.strip() else None for number in part.split(":")]
    return range(length)[slice(*numbers)] if ":" in part else [range(length)[int(part)]]


def list_sources(folder: Path, file: File | None = None, *, tables: bool = True) -> list[Path]:
    """Returns the paths that must not be overwritten: the input table and the training table.

    If `tables` is False, a folder of training tables is left out, because it may also hold other files.
    """
    trained = [path for path in output_checks.training_table(folder) if tables or path.is_file()]
    return [*([] if file is None else [file.path]), *trained]


def refuse_both(file: File | None, split: str | None, rows: str | None = None) -> None:
    """Checks that no split or rows of the run's data set are selected if a file with the rows is given."""
    for option, value in {"split": split, "rows": rows}.items():
        if file is not None and value is not None:
            raise ValueError(
                f"--{option} selects rows of the run's data set, and must be left out if a table's file is given; "
                f"got --{option} {value} and {file.path}"
            )


def open_source(
    folder: Path, schema: Schema, split: str | None, file: File | None, batch_size: int, on_changed: str
) -> Source:
    """Returns the rows of a split or of a file; a file is read lazily."""
    if file is None:
        table = open_tables(folder, split or choose_split(folder), on_changed=on_changed, schema=schema)[0]
        return Source(len(table), -(-len(table) // batch_size), [(torch.arange(len(table)), table)])
    lengths, chunks = file.read(batch_size * -(-READ // batch_size))
    say_all(file.messages)
    reader = frames.Reader(schema, file.root)
    passes = sum(-(-length // batch_size) for length in lengths)
    return Source(sum(lengths), passes, _read(reader, chunks), reader.list_messages)


def _read(reader: frames.Reader, chunks: Iterable[pd.DataFrame]) -> Iterator[tuple[Tensor, Table]]:
    for chunk in chunks:
        start = reader.rows
        places, table = read_nonempty_rows(reader, chunk)
        yield start + places, table


def read_selected_rows(
    folder: Path, schema: Schema, rows: str, split: str | None, file: File | None, on_changed: str
) -> tuple[list[int], Batch]:
    """Returns the selected rows of a split or of a file; a file is read only up to the last selected row."""
    if file is None:
        table = open_tables(folder, split or choose_split(folder), on_changed=on_changed, schema=schema)[0]
        return (chosen := parse_row_numbers(rows, len(table))), table[chosen]
    lengths, chunks = file.read(READ)
    say_all(file.messages)
    chosen = parse_row_numbers(rows, sum(lengths))
    reader = frames.Reader(schema, file.root, numbers=chosen)
    batch = reader.read(user_tables.select_rows(chunks, chosen))
    say_all(reader.list_messages())
    return chosen, batch


def say_all(sentences: Iterable[str]) -> None:
    """Prints sentences on stderr."""
    for sentence in sentences:
        say(sentence)
