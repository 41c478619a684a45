"""Building of user-defined tables: splits the rows, infers the types of columns, and writes each split to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal import csvfiles
from polymodal.csvfiles import Options
from polymodal.datasets import shards
from polymodal.datasets.base import Dataset
from polymodal.datasets.storage import SPLITS, load_or_build
from polymodal.datasets.table_files import Contents, File, fingerprint_files
from polymodal.io import checkpoint
from polymodal.runtime.progress import say, show_progress
from polymodal.schema import Schema
from polymodal.table import frames
from polymodal.table.table import Table
from polymodal.table.table_input import FITTED

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

__all__ = [
    "REPORT",
    "VERSION",
    "load_or_build_table",
    "make_cache_key",
    "read_for_inference",
    "read_nonempty_rows",
    "report_once",
    "select_inference_arguments",
]

FEWEST = 10
"""Smallest number of rows that can be split into three splits."""
VERSION = 2
"""Version of the cached tables; a new version rebuilds all tables in the cache."""
REPORT = "said.json"
"""Cache file with the messages about values that were not used unchanged."""
_REPORTED: set[tuple[str, int]] = set()
"""Versions of files for which `report_once` has reported how they were read, so building them does not repeat it."""


def load_or_build_table(arguments: dict[str, Any], contents: Contents, schema: Schema | None = None) -> Dataset:
    """Returns the table, from the cache if it was built before."""
    record = {"arguments": arguments, "files": fingerprint_files(contents)}
    make = partial(_build, arguments, schema)
    return load_or_build(
        "table", make_cache_key(arguments, schema), contents.values(), make, version=VERSION, source=record
    )


def make_cache_key(arguments: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    """Returns the arguments that identify a table in the cache."""
    return arguments if schema is None else {**arguments, "schema": schema.to_json()}


class TableInput(NamedTuple):
    """A table whose first rows have been read."""

    parts: dict[str, np.ndarray]
    """Row indices of each split, ascending."""
    known: pd.DataFrame
    """Training rows from which the schema and the units are inferred."""
    steps: int
    """Number of chunks."""
    pieces: Iterator[pd.DataFrame]
    """All rows, in chunks."""
    root: Path
    messages: list[str]
    """Messages for the user about how the file was read, one sentence each."""


class _SplitFile:
    """A split that is being written: selects its rows from the table's chunks, and writes them to its file."""

    def __init__(self, rows: np.ndarray, reader: frames.Reader, file: shards.Filling) -> None:
        self.rows, self.reader, self.file = rows, reader, file
        self.filled = 0

    def take(self, start: int, frame: pd.DataFrame) -> None:
        """Adds the rows of a chunk that belong to the split; the chunk begins with row `start` of the table."""
        mine = _select_in_chunk(self.rows, start, frame)
        if not len(mine):
            return
        _, table = read_nonempty_rows(self.reader, mine)
        stop = self.filled + len(table)
        for name, values in table.values.items():
            self.file.values[name][self.filled : stop] = values
        self.file.observed[self.filled : stop] = table.observed
        self.filled = stop

    def list_messages(self) -> list[str]:
        """Returns messages about values that were not used unchanged, one sentence each.

        Raises:
            ValueError: Too many files are damaged.
        """
        empty = len(self.rows) - self.filled
        messages = self.reader.list_messages()
        if empty:
            messages.append(f"{empty:,} of {len(self.rows):,} rows have no observed value and are left out")
        return messages


def _build(
    arguments: dict[str, Any], known: Schema | None, folder: Path, describe: Callable[[str], dict[str, Any]]
) -> None:
    source = read_for_inference(arguments)
    messages = [] if known is None else list(source.messages)
    if (key := _identify_version(arguments)) in _REPORTED:
        _REPORTED.remove(key)
    elif known is None:
        for sentence in source.messages:
            say(sentence)
    schema = _infer_schema(arguments, source) if known is None else known
    places = {split: folder / f"{split}.safetensors" for split in SPLITS}
    with ExitStack() as files:
        parts = {}
        for split, rows in source.parts.items():
            reader = frames.Reader(schema, source.root, arguments["unreadable"], numbers=rows)
            file = files.enter_context(shards.fill(places[split], schema, len(rows), **describe(split)))
            parts[split] = _SplitFile(rows, reader, file)
        _fill([*parts.values()], source)
        for split, part in parts.items():
            if len(part.rows) and not part.filled:
                raise ValueError(
                    f"{arguments['path']} must have more rows with observed values; none of the {split} rows has one"
                )
            messages += [f"{split} rows: {sentence}" for sentence in part.list_messages()]
    for sentence in messages if known is None else ():
        say(sentence)
    if known is not None:
        checkpoint.write_text(folder / REPORT, checkpoint.to_json({"said": messages}))
    for split, part in parts.items():
        if part.filled < len(part.rows):
            _shorten(places[split], part.filled)


def _infer_schema(arguments: dict[str, Any], source: TableInput) -> Schema:
    inferred = Schema.infer(source.known, **select_inference_arguments(arguments), root=source.root, say=None)
    return frames.fit_schema(inferred, source.known, lambda row: str(source.known.index[row]))


def _fill(parts: Sequence[_SplitFile], source: TableInput) -> None:
    start = 0
    for frame in show_progress(source.pieces, "reading", source.steps) if source.steps > 1 else source.pieces:
        for part in parts:
            part.take(start, frame)
        start += len(frame)


def _shorten(path: Path, rows: int) -> None:
    """Truncates a table's file to its first rows."""
    tensors, document = checkpoint.map_state(path)
    kinds = {name: (tensor.dtype, (rows, *tensor.shape[1:])) for name, tensor in tensors.items()}
    with checkpoint.create_state(path, kinds, document) as shorter:
        for name, tensor in shorter.items():
            tensor[:] = tensors[name][:rows]


def read_for_inference(arguments: Mapping[str, Any]) -> TableInput:
    """Reads all rows of a CSV file, and of other formats as many rows as are needed to infer the schema."""
    import pandas as pd

    file = File(Path(arguments["path"]), Options.of(arguments))
    lengths, pieces = file.read(frames.ROWS)
    shares = arguments.get("validation"), arguments.get("test")
    parts = _split(sum(lengths), arguments["held_out"], arguments["seed"], *shares)
    first, known, start = [], [], 0
    for frame in pieces:
        first.append(frame)
        known.append(_select_in_chunk(parts["train"], start, frame))
        start += len(frame)
        if start >= FITTED and not file.text:
            break
    steps = sum(-(-many // frames.ROWS) for many in lengths)
    whole, messages = pd.concat(known), list(file.messages)
    index = file.document.index if file.text else None
    if index is not None and index not in (arguments["modality"] or {}):
        whole = whole.drop(columns=index)
        messages.append(f"{file.path.name}: {csvfiles.INDEX}; to include it write --modality '{index}=number'")
    return TableInput(parts, whole, steps, chain(first, pieces), file.root, messages)


def read_nonempty_rows(reader: frames.Reader, frame: pd.DataFrame) -> tuple[Tensor, Table]:
    """Returns the indices and the values of those rows of a chunk that have at least one observed value.

    Raises:
        ValueError: A cell cannot be read; names column and row.
    """
    batch = reader.read(frame)
    some = batch.observed.any(1).nonzero()[:, 0]
    batch = batch[some]
    return some, Table(batch.values, batch.observed, reader.schema)


def report_once(arguments: Mapping[str, Any], messages: Sequence[str]) -> None:
    """Prints the messages about how a file was read, which building its table then does not repeat."""
    for sentence in messages:
        say(sentence)
    _REPORTED.add(_identify_version(arguments))


def select_inference_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `Schema.infer`."""
    return {
        "modalities": arguments["modality"],
        "ignore": arguments["ignore"] or (),
        "groups": arguments["group"] or (),
    }


def _identify_version(arguments: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the path of a file, and its modification time."""
    path = Path(arguments["path"]).resolve()
    return str(path), path.stat().st_mtime_ns


def _select_in_chunk(rows: np.ndarray, start: int, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of a chunk whose indices are in `rows`, which must be ascending."""
    low, high = np.searchsorted(rows, [start, start + len(frame)])
    return frame.iloc[rows[low:high] - start].set_axis(rows[low:high])


def _split(
    many: int, held_out: float, seed: int, validation: float | None = None, test: float | None = None
) -> dict[str, np.ndarray]:
    """Returns the row indices of each split, ascending.

    Arguments:
        many: Number of rows of the table.
        held_out: Default of the two fractions.
        seed: Random seed for the splits.
        validation: Fraction of the rows for validation; at least one row.
        test: Fraction of the rows for the test; at least one row, except if it is 0.

    Raises:
        ValueError: The table has fewer than 10 rows, or no row is left for training.
    """
    if many < FEWEST:
        raise ValueError(f"a table must have at least {FEWEST} rows, because it is split into three parts; got {many}")
    order = np.random.default_rng(seed).permutation(many)
    validation, test = (held_out if share is None else share for share in (validation, test))
    first = max(1, round(validation * many))
    held_out = first + (max(1, round(test * many)) if test else 0)
    if held_out >= many:
        raise ValueError(
            f"validation and test must leave at least one of {many} rows for training; got {validation} and {test}"
        )
    ends = {"train": order[held_out:], "validation": order[:first], "test": order[first:held_out]}
    return {split: np.sort(ends[split]) for split in SPLITS}
