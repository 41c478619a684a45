"""User-defined tables: CSV, Parquet, and other files, and folders of Parquet files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal import csvfiles
from polymodal.csvfiles import Options, other_formats
from polymodal.datasets import shards
from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.storage import SPLITS, folder, load_or_build
from polymodal.datasets.table_files import Contents, check_path, contents_of, fingerprint_files
from polymodal.io import checkpoint
from polymodal.io.parquet_files import ParquetTable
from polymodal.io.parquet_folders import is_parquet, list_files
from polymodal.runtime.progress import say, show_progress
from polymodal.schema import Schema
from polymodal.table import frames
from polymodal.table.table import FITTED, Table

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from polymodal.tabular import Proposal

__all__ = [
    "File",
    "columns",
    "contents",
    "is_file",
    "read_as",
    "read_nonempty_rows",
    "rows",
    "select_rows",
    "table",
]

USUAL = Options()
FEWEST = 10
"""Smallest number of rows that can be split into three splits."""
_SAID: set[tuple[str, int]] = set()
"""Files for which `columns` has reported how they were read, so `table` does not repeat it."""
VERSION = 2
"""Version of the cached tables; a new version rebuilds all tables in the cache."""
REPORT = "said.json"
"""Cache file with the messages about values that were not used unchanged."""
NAMED = ("columns", "missing", "modality", "ignore", "group", "held_out", "unreadable", "seed")
"""Arguments that a run always records, even if they have their defaults."""


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
            return _cut(self.document.frame, size)
        if self.options.given:
            option = next(iter(self.options.given))
            raise ValueError(f"{option} is for CSV files; got {self.path}, and Parquet has its own; leave it out")
        other_formats.refuse_unknown(self.path)
        if not self.parquet:
            return _cut(other_formats.read(self.path), size)
        table = ParquetTable(self.path)
        return table.lengths, table.frames(size)


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
    get="made from a file of yours, which `polymodal train FILE` names",
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
    unreadable: float = frames.MOST_UNREADABLE,
    seed: int = 0,
) -> Dataset:
    """Loads a table from a CSV, Parquet, Feather, JSON lines or Excel file, or from a folder of Parquet files.

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
    file = File(Path(path), Options.of(locals()))
    holds = contents(path)
    given = file.options.given
    if file.text and (found := csvfiles.detect_options(path, file.options)).given:
        say(csvfiles.describe_detected_options(file.path, found))
        given |= found.given
    arguments = {
        "path": str(Path(path).resolve()), "columns": columns, "missing": missing, "modality": modality,
        "ignore": ignore, "group": group, "held_out": held_out, "unreadable": unreadable, "seed": seed,
    }  # fmt: skip
    arguments |= given  # options are only named if given, to find the cache of earlier versions
    return _load_or_build_table(arguments, holds)


def contents(path: str) -> Contents:
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
        raise _absent(path)
    return contents_of(path, files, ParquetTable(path).folder_names if parquet else [])


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
            data = _load_or_build_table(arguments, contents)
            schema.require(data.schema, "the table")
            return data
    data = _load_or_build_table(arguments, contents, schema)
    place = folder("table", _make_cache_key(arguments, schema), contents.values(), VERSION)
    for sentence in checkpoint.read_json(place / REPORT)["said"]:
        say(sentence)
    return data


def rows(path: str) -> int:
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
        raise _absent(path)
    if not file.text:
        return len(other_formats.read(file.path))
    return csvfiles.unpack(Path(path)).count(b"\n")


def columns(**arguments: Any) -> list[Proposal]:
    """Returns the inferred type of each column and the reason for it; takes all arguments of `table`."""
    from polymodal import tabular

    begun = _read_for_inference(arguments)
    for sentence in begun.messages:
        say(sentence)
    _SAID.add(_key(arguments))
    return tabular.propose(begun.known, **_choices(arguments), root=begun.root)


def read_nonempty_rows(reader: frames.Reader, frame: pd.DataFrame) -> tuple[Tensor, Table]:
    """Returns the indices and the values of those rows of a chunk that have at least one observed value.

    Raises:
        ValueError: A cell cannot be read; names column and row.
    """
    batch = reader.read(frame)
    some = batch.observed.any(1).nonzero()[:, 0]
    batch = batch[some]
    return some, Table(batch.values, batch.observed, reader.schema)


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


def _load_or_build_table(arguments: dict[str, Any], contents: Contents, schema: Schema | None = None) -> Dataset:
    """Returns the table, from the cache if it was built before."""
    source = {"arguments": arguments, "files": fingerprint_files(contents)}
    make = partial(_make, arguments, schema)
    return load_or_build(
        "table", _make_cache_key(arguments, schema), contents.values(), make, version=VERSION, source=source
    )


def _make_cache_key(arguments: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    return arguments if schema is None else {**arguments, "schema": schema.to_json()}


class _Begun(NamedTuple):
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


class _Part:
    """A split that is being written: selects its rows from the table's chunks, and writes them to its file."""

    def __init__(self, rows: np.ndarray, reader: frames.Reader, file: shards.Filling) -> None:
        self.rows, self.reader, self.file = rows, reader, file
        self.filled = 0

    def take(self, start: int, frame: pd.DataFrame) -> None:
        """Adds the rows of a chunk that belong to the split; the chunk begins with row `start` of the table."""
        mine = _mine(self.rows, start, frame)
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
        left_out = [f"{empty:,} of {len(self.rows):,} rows hold nothing, and are left out"] if empty else []
        return self.reader.list_messages() + left_out


def _make(arguments: dict[str, Any], known: Schema | None, folder: Path, told: Callable[[str], dict[str, Any]]) -> None:
    begun = _read_for_inference(arguments)
    messages = [] if known is None else list(begun.messages)
    if (key := _key(arguments)) in _SAID:
        _SAID.remove(key)
    elif known is None:
        for sentence in begun.messages:
            say(sentence)
    schema = _infer_schema(arguments, begun) if known is None else known
    places = {split: folder / f"{split}.safetensors" for split in SPLITS}
    with ExitStack() as files:
        parts = {}
        for split, rows in begun.parts.items():
            reader = frames.Reader(schema, begun.root, arguments["unreadable"], numbers=rows)
            file = files.enter_context(shards.fill(places[split], schema, len(rows), **told(split)))
            parts[split] = _Part(rows, reader, file)
        _fill([*parts.values()], begun)
        for split, part in parts.items():
            if not part.filled:
                raise ValueError(
                    f"{arguments['path']} must have more rows that hold something; none of the {split} rows does"
                )
            messages += [f"{split} rows: {sentence}" for sentence in part.list_messages()]
    for sentence in messages if known is None else ():
        say(sentence)
    if known is not None:
        checkpoint.write_text(folder / REPORT, checkpoint.to_json({"said": messages}))
    for split, part in parts.items():
        if part.filled < len(part.rows):
            _shorten(places[split], part.filled)


def _infer_schema(arguments: dict[str, Any], begun: _Begun) -> Schema:
    inferred = Schema.infer(begun.known, **_choices(arguments), root=begun.root, say=None)
    return frames.fit_schema(inferred, begun.known)


def _fill(parts: Sequence[_Part], begun: _Begun) -> None:
    start = 0
    for frame in show_progress(begun.pieces, "reading", begun.steps) if begun.steps > 1 else begun.pieces:
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


def _read_for_inference(arguments: Mapping[str, Any]) -> _Begun:
    """Reads all rows of a CSV file, and of other formats as many rows as are needed to infer the schema."""
    import pandas as pd

    file = File(Path(arguments["path"]), Options.of(arguments))
    lengths, pieces = file.read(frames.ROWS)
    parts = _split(sum(lengths), arguments["held_out"], arguments["seed"])
    first, known, start = [], [], 0
    for frame in pieces:
        first.append(frame)
        known.append(_mine(parts["train"], start, frame))
        start += len(frame)
        if start >= FITTED and not file.text:
            break
    steps = sum(-(-many // frames.ROWS) for many in lengths)
    whole, messages = pd.concat(known), list(file.messages)
    index = file.document.index if file.text else None
    if index is not None and index not in (arguments["modality"] or {}):
        whole = whole.drop(columns=index)
        messages.append(
            f"{file.path.name}: {csvfiles.INDEX}; to take it all the same write --modality '{index}=number'"
        )
    return _Begun(parts, whole, steps, chain(first, pieces), file.root, messages)


def _key(arguments: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the path of a file, and its modification time."""
    path = Path(arguments["path"]).resolve()
    return str(path), path.stat().st_mtime_ns


def _cut(frame: pd.DataFrame, size: int) -> tuple[list[int], Iterator[pd.DataFrame]]:
    """Returns the number of rows of a data frame, and the data frame in chunks."""
    return [len(frame)], (frame.iloc[start : start + size] for start in range(0, len(frame), size))


def _mine(rows: np.ndarray, start: int, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of a chunk whose indices are in `rows`, which must be ascending."""
    low, high = np.searchsorted(rows, [start, start + len(frame)])
    return frame.iloc[rows[low:high] - start].set_axis(rows[low:high])


def _split(many: int, held_out: float, seed: int) -> dict[str, np.ndarray]:
    """Returns the row indices of each split, ascending.

    Raises:
        ValueError: The table has fewer than 10 rows.
    """
    if many < FEWEST:
        raise ValueError(f"a table must have at least {FEWEST} rows, for it is split; got {many}")
    order = np.random.default_rng(seed).permutation(many)
    few = max(1, round(held_out * many))
    ends = {"train": order[2 * few :], "validation": order[:few], "test": order[few : 2 * few]}
    return {split: np.sort(ends[split]) for split in SPLITS}


def _absent(path: str) -> FileNotFoundError:
    return FileNotFoundError(f"{path} must be a table's file, and does not exist; correct the path")


def _choices(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `Schema.infer`."""
    return {
        "modalities": arguments["modality"],
        "ignore": arguments["ignore"] or (),
        "groups": arguments["group"] or (),
    }
